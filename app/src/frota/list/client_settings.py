"""Settings of the list's client commands; every key is LIST_ + the field's name in capitals."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from frota.core import commands
from frota.core.settings import path, setting
from frota.list import keys
from frota.list.messages import DEFAULT_LIST
from frota.list.settings import PREFIX
from frota.net import addresses

# The roles write this file on fleet hosts, for the commands of their users.
FLEET_FILE = Path("/etc/frota/frota-list-client.env")


@dataclass(frozen=True)
class ClientSettings:
    """The settings of every client command."""

    host: str = setting("127.0.0.1", "the server's host", parse=addresses.parse_host)
    port: int = setting(1234, "the server's port", low=1, high=65535)
    list: str = setting(DEFAULT_LIST, "name of the list")
    key_file: Path | None = setting(None, "file with the client's secret key; without one, clear text", parse=path)
    server_key: str = setting("", "the server's public key, 64 hexadecimal digits", parse=keys.parse_key)
    timeout: float = setting(
        30.0, "timeout of a request, retries included", unit="seconds", low=0.1, high=86400, former="patience"
    )

    def __post_init__(self) -> None:
        if (self.key_file is None) != (not self.server_key):
            raise ValueError(
                f"{PREFIX}KEY_FILE (--key-file) and {PREFIX}SERVER_KEY (--server-key): both, or neither for clear text"
            )

    @property
    def address(self) -> str:
        """The server, HOST:PORT, IPv6 in brackets."""
        return addresses.endpoint(self.host, self.port)


def read(args: argparse.Namespace) -> ClientSettings:
    """Read the settings of a client command. Raises SettingsError."""
    return commands.read_for_people(ClientSettings, PREFIX, args, FLEET_FILE)
