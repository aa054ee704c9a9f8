"""How people get to the producer, and operators to the broker; every key is IMAGES_ + the field's name in capitals."""

import argparse
import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import unquote

from frota.core import commands, secret_file
from frota.core.settings import setting
from frota.images.settings import PREFIX, BrokerSettings, path

# Where a host of the fleet says how its people get to the producer, and its operators to the broker.
CLIENT_FILE = Path("/etc/frota/frota-image-client.env")
OPERATOR_FILE = Path("/etc/frota/frota-image-operator.env")
PORT = 50051
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::(\d{1,5}))?", re.ASCII)
_SCHEME = re.compile(r"(?:ipv4|ipv6|dns):(?:///)?")  # as gRPC has its targets


def parse_address(text: str) -> str:
    """Read HOST:PORT or HOST alone, return HOST:PORT. Raises ValueError saying what would be right.

    An IPv6 address is in brackets, or without a port.
    """
    found = _match(text)
    if found is None or not 0 < int(found[2] or PORT) < 65536:
        raise ValueError("must be HOST:PORT, or HOST alone, an IPv6 address in [brackets]")
    return f"{found[1]}:{int(found[2] or PORT)}"


def is_address(word: str) -> bool:
    """Tell whether a word among file names is HOST:PORT, or an IPv6 address."""
    found = _match(word)
    return bool(found and (found[2] or found[1].startswith("[")))


def _match(text: str) -> re.Match[str] | None:
    plain = unquote(text.removeprefix(scheme[0])) if (scheme := _SCHEME.match(text)) else text
    with suppress(ValueError):
        plain = f"[{IPv6Address(plain)}]"
    return _ADDRESS.fullmatch(plain)


@dataclass(frozen=True)
class ClientSettings:
    """What every client command of the images can be told."""

    address: str = setting(f"127.0.0.1:{PORT}", "the producer, HOST:PORT", parse=parse_address)
    ca_file: Path | None = setting(
        None, "file (PEM) with the certificates of those whom we trust; none: clear text", parse=path
    )
    cert_file: Path | None = setting(None, "file (PEM) with our certificate, where the server asks for one", parse=path)
    key_file: Path | None = setting(None, "file (PEM) with the private key that belongs to it", parse=path)
    patience: float = setting(
        60.0, "how long to try before giving up when the server does not answer", unit="seconds", low=0.1, high=86400
    )

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError(f"{PREFIX}CERT_FILE (--cert-file) and {PREFIX}KEY_FILE (--key-file): both, or neither")
        if self.cert_file and not self.ca_file:
            raise ValueError(
                f"{PREFIX}CA_FILE (--ca-file) is missing: without it we speak in clear text,"
                f" where {PREFIX}CERT_FILE (--cert-file) is of no use"
            )


@dataclass(frozen=True)
class OperatorSettings(BrokerSettings):
    """What the commands for dead images can be told: how the broker is reached."""

    patience: float = setting(
        20.0, "how long to wait for a broker that has no room, and takes nothing", unit="seconds", low=0.1, high=86400
    )


def read(args: argparse.Namespace) -> ClientSettings:
    """Read how to get to the producer. Raises SettingsError."""
    config = commands.read_as_people(ClientSettings, PREFIX, args, CLIENT_FILE)
    if config.key_file:
        secret_file.check(config.key_file)
    return config


def read_operator(args: argparse.Namespace) -> OperatorSettings:
    """Read how to get to the broker. Raises SettingsError."""
    config = commands.read_as_people(OperatorSettings, PREFIX, args, OPERATOR_FILE)
    config.check_secrets()
    return config
