"""The client of the list under test."""

from typing import Any

from frota.list.client.client import Client
from frota.list.client_settings import ClientSettings
from support import TIMEOUT_S


def client(port: int, timeout: float = TIMEOUT_S, **settings: Any) -> Client:
    """Return a client of a server on this machine."""
    return Client(ClientSettings(port=port, timeout=timeout, **settings))
