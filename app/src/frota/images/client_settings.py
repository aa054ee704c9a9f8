"""Client settings: how users reach the producer and operators the broker. Keys are IMAGES_ + the field in capitals."""

import argparse
import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import unquote

from frota.core import commands, secret_file
from frota.core.settings import path, setting
from frota.images.settings import PREFIX, BrokerConfig

# A fleet host's configuration of its client commands, and of its operator commands.
CLIENT_FILE = Path("/etc/frota/frota-image-client.env")
OPERATOR_FILE = Path("/etc/frota/frota-image-operator.env")
PORT = 50051
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::(\d{1,5}))?", re.ASCII)
_SCHEME = re.compile(r"(?:ipv4|ipv6|dns):(?:///)?")  # of a gRPC target


def parse_address(text: str) -> str:
    """Read HOST:PORT or HOST alone, return HOST:PORT. Raises ValueError with the expected form.

    An IPv6 address is in brackets, or has no port.
    """
    match = _match(text)
    if match is None or not 0 < int(match[2] or PORT) < 65536:
        raise ValueError("must be HOST:PORT, or HOST alone, an IPv6 address in [brackets]")
    return f"{match[1]}:{int(match[2] or PORT)}"


def is_address(word: str) -> bool:
    """Tell whether an argument is HOST:PORT or an IPv6 address, and not a file name."""
    match = _match(word)
    return bool(match and (match[2] or match[1].startswith("[")))


def _match(text: str) -> re.Match[str] | None:
    plain = unquote(text.removeprefix(scheme[0])) if (scheme := _SCHEME.match(text)) else text
    with suppress(ValueError):
        plain = f"[{IPv6Address(plain)}]"
    return _ADDRESS.fullmatch(plain)


@dataclass(frozen=True)
class ClientSettings:
    """The settings of every client command."""

    address: str = setting(f"127.0.0.1:{PORT}", "the producer, HOST:PORT", parse=parse_address)
    ca_file: Path | None = setting(None, "file (PEM) with trusted CA certificates; none: clear text", parse=path)
    cert_file: Path | None = setting(
        None, "file (PEM) with the client certificate, if the server requires one", parse=path
    )
    key_file: Path | None = setting(None, "file (PEM) with the private key of that certificate", parse=path)
    timeout: float = setting(
        60.0,
        "how long to retry while the server does not answer",
        unit="seconds",
        low=0.1,
        high=86400,
        former="patience",
    )

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError(f"{PREFIX}CERT_FILE (--cert-file) and {PREFIX}KEY_FILE (--key-file): both, or neither")
        if self.cert_file and not self.ca_file:
            raise ValueError(
                f"{PREFIX}CA_FILE (--ca-file) is missing: without it the connection is clear text,"
                f" where {PREFIX}CERT_FILE (--cert-file) has no effect"
            )


@dataclass(frozen=True)
class OperatorSettings(BrokerConfig):
    """The settings of the dead letter commands: how to reach the broker."""

    timeout: float = setting(
        20.0,
        "how long to wait while the broker blocks publishers",
        unit="seconds",
        low=0.1,
        high=86400,
        former="patience",
    )


def read(args: argparse.Namespace) -> ClientSettings:
    """Read the settings of a client command. Raises SettingsError."""
    config = commands.read_for_people(ClientSettings, PREFIX, args, CLIENT_FILE)
    if config.key_file:
        secret_file.check(config.key_file)
    return config


def read_operator(args: argparse.Namespace) -> OperatorSettings:
    """Read the settings of an operator command. Raises SettingsError."""
    config = commands.read_for_people(OperatorSettings, PREFIX, args, OPERATOR_FILE)
    config.check_secrets()
    return config
