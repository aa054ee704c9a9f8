"""The client under test."""

from typing import Any

from frota.list.client.client import Client
from frota.list.client_settings import ClientSettings
from support import PATIENCE


def client(port: int, timeout: float = PATIENCE, **settings: Any) -> Client:
    """Return a client of a server on this machine."""
    return Client(ClientSettings(port=port, timeout=timeout, **settings))
