"""The settings of people's commands; every key is PEERS_ + the field's name in capitals."""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from frota.core import commands
from frota.core.settings import setting
from frota.net.arguments import ENV_FILES
from frota.peers.protocol.messages import PORT, Address
from frota.peers.security import SecurityConfig
from frota.peers.settings import PREFIX, SERVER_UNIT, WORKER_UNIT, parse_address

CLIENT_FILE = "frota-peer-client.env"  # which the roles write for the users of a fleet host
_WITH_PORT = re.compile(r"(?:^[^:]+|\]):\d+$")
_UNIT_FILES = (f"{SERVER_UNIT}.env", f"{WORKER_UNIT}@*.env", f"{WORKER_UNIT}.env")


def parse_server(text: str) -> str:
    """Check HOST or HOST:PORT. Raises ValueError that says what is valid."""
    parse_address(text)
    return text.strip()


@dataclass(frozen=True)
class ClientSettings(SecurityConfig):
    """The settings of every command for people."""

    host: str = setting(
        "127.0.0.1", "HOST or HOST:PORT of the server, an IPv6 address in [brackets]", parse=parse_server
    )
    port: int = setting(PORT, "the server's port", low=1, high=65535)

    @property
    def address(self) -> Address:
        """Where the server is."""
        address = parse_address(self.host)
        return address if _WITH_PORT.search(self.host) else Address(address.host, self.port)


def read(args: argparse.Namespace, folder: Path = ENV_FILES) -> ClientSettings:
    """Read the settings; on a fleet host those that it has are the defaults. Raises SettingsError."""
    return commands.read_for_people(ClientSettings, PREFIX, args, fleet_file(folder))


def fleet_file(folder: Path) -> Path:
    """Return this host's file for people's commands, else that of a server or worker, else one that does not exist."""
    found = [file for pattern in (CLIENT_FILE, *_UNIT_FILES) for file in sorted(folder.glob(pattern))]
    return next((file for file in found if os.access(file, os.R_OK)), folder / CLIENT_FILE)
