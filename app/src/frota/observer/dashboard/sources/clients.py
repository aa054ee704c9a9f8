"""How the dashboard reaches the servers: by the files of this host's client commands, with keys that systemd passes.

A credential of the unit (`list_key`, `image_key`, `peer_key`) replaces the key file that the client's file names.
"""

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from frota.core import secret_file, settings
from frota.core.settings import SettingsError
from frota.images import client_settings as images
from frota.list import client_settings as lists
from frota.observer.settings import Endpoint
from frota.peers import client_settings as peers

T = TypeVar("T")
_IMAGES_TIMEOUT_S, _LIST_TIMEOUT_S = 20.0, 5.0  # a person waits


def list_settings(server: Endpoint, file: Path = lists.FLEET_FILE) -> lists.ClientSettings:
    """Return the settings of the list's client. Raises SettingsError."""
    overrides = {"host": server.host, "port": server.port, "timeout": _LIST_TIMEOUT_S}
    return _read(lists.ClientSettings, "LIST_", file, "list_key", overrides)


def images_settings(server: Endpoint, file: Path = images.CLIENT_FILE) -> images.ClientSettings:
    """Return the settings of the images' client. Raises SettingsError."""
    overrides = {"address": str(server), "timeout": _IMAGES_TIMEOUT_S}
    return _read(images.ClientSettings, "IMAGES_", file, "image_key", overrides)


def peers_settings(server: Endpoint, folder: Path) -> peers.ClientSettings:
    """Return the settings of the peers' client. Raises SettingsError."""
    overrides = {"host": str(server), "port": server.port}
    return _read(peers.ClientSettings, "PEERS_", peers.fleet_file(folder), "peer_key", overrides)


def _read(cls: type[T], prefix: str, file: Path, credential: str, overrides: dict[str, Any]) -> T:
    """Read a client's file, if this process may; the server is that of the dashboard's settings."""
    try:
        pairs = settings.read_env_file(file) if file.exists() else {}
        key = secret_file.credential(credential)
        if key and f"{prefix}KEY_FILE" in pairs:
            pairs[f"{prefix}KEY_FILE"] = str(key)
        known = {name: value for name, value in pairs.items() if name in settings.keys(cls, prefix)}
        return dataclasses.replace(settings.read(cls, prefix, known), **overrides)  # type: ignore[type-var]  # T is a dataclass
    except PermissionError:
        raise SettingsError(f"{file}: this process may not read it") from None
