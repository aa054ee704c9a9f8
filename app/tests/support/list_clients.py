"""The client under test."""

from typing import Any

from frota.remote_list.access import Access
from frota.remote_list.client.client import Client
from support import PATIENCE


def client(port: int, patience: float = PATIENCE, **settings: Any) -> Client:
    """Return a client of a server on this machine."""
    return Client(Access(port=port, patience=patience, **settings))
