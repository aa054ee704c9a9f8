"""Arguments of client commands: hosts, ports, and the server of the fleet that this host belongs to."""

import argparse
import re
from pathlib import Path

from frota.core import settings

# The roles write the env files of the units of a host here.
ENV_FILES = Path("/etc/frota")


def host(text: str) -> str:
    """Return a host, an IPv6 address without brackets. Raises ArgumentTypeError that says what is valid."""
    from frota.net.addresses import parse_host  # here: its imports are memory that the agent saves

    try:
        return parse_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def port(text: str) -> int:
    """Return a port, 1 to 65535. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text[:40]}: must be from 1 to 65535")
    return int(text)


def add_server(parser: argparse.ArgumentParser, default_port: int) -> None:
    """Add --host and --port of a server; `server` returns what they mean."""
    text = "HOST or HOST:PORT of the server, an IPv6 address in [brackets] (on a fleet host its server, else 127.0.0.1)"
    parser.add_argument("--host", type=_host_and_port, metavar="HOST", help=text)
    parser.add_argument("--port", type=port, help=f"the server's port ({default_port})")


def server(
    args: argparse.Namespace, default_port: int, prefix: str, *units: str, folder: Path = ENV_FILES
) -> tuple[str, int]:
    """Return host and port of the server: those of the command line, else those of this host's units, else this host.

    `units` are name patterns of units whose env files have {prefix}HOST and {prefix}PORT; the first file counts. A
    server's file has no host, since it listens on 127.0.0.1, too. Raises SettingsError that names the file.
    """
    if args.host:
        name, number = args.host
        return name, args.port or number or default_port
    file = next((file for unit in units for file in sorted(folder.glob(f"{unit}.env"))), None)
    pairs = settings.read_env_file(file) if file else {}
    try:
        number = port(pairs.get(f"{prefix}PORT", str(default_port)))
        return host(pairs.get(f"{prefix}HOST", "127.0.0.1")), args.port or number
    except argparse.ArgumentTypeError as error:
        raise settings.SettingsError(f"{file}: {error}") from None


def _host_and_port(text: str) -> tuple[str, int | None]:
    name, colon, number = text.rpartition(":")
    has_port = bool(colon) and (name.endswith("]") or ":" not in name)
    try:
        return host(name if has_port else text), port(number) if has_port else None
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
