"""The `frota` command: finds the system, and imports nothing of the others."""

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from typing import NamedTuple

from frota.core import output
from frota.core.errors import StateError
from frota.core.settings import EXIT_CONFIG, SettingsError


class System(NamedTuple):
    """A system: the package that holds it, and what it does."""

    package: str
    text: str


SYSTEMS = {
    "sensors": System("sensors", "readings from sensors over TCP, kept on disk before they are acknowledged"),
    "images": System("images", "images over gRPC, queued, turned grey by workers and kept in S3, none lost"),
    "list": System("remote_list", "lists that many share over ZeroMQ, every change on disk before it is answered"),
    "cpu": System("cpu_metrics", "metrics of every computer in near real time, with their history"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 for a failure, 2 for usage, 78 for wrong settings."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without "°" is no reason to end
    try:
        args = _parse(words)
        status: int = args.run(args)
    except SettingsError as error:
        _complain(error)
        return EXIT_CONFIG
    except BrokenPipeError:  # of standard output: its reader has ended, as `head` does, which is no error
        output.discard()
        return 1
    except (StateError, OSError) as error:
        _complain(error)
        output.discard()
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _complain(error: Exception) -> None:
    """Say what went wrong; what a server said may be part of it, and must not be obeyed by a terminal."""
    from frota.logs.log import printable

    print(f"frota: {printable(str(error))}", file=sys.stderr)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="frota",
        description="Five classic distributed systems as one fleet.",
        epilog="example: frota sensors serve --port 5000 --state-dir readings",
    )
    systems = parser.add_subparsers(title="systems", metavar="SYSTEM", required=True)
    for name, (package, text) in SYSTEMS.items():
        system = systems.add_parser(name, help=text, description=text)
        if words[:1] == [name]:
            importlib.import_module(f"frota.{package}.cli").add_commands(system)
    return parser.parse_args(words)
