"""The `frota` command: imports only the system that is named."""

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from typing import NamedTuple

from frota.core import standard_output
from frota.core.errors import StateError
from frota.core.settings import EXIT_CONFIG, SettingsError


class System(NamedTuple):
    """A system, or a command over all of them: its package and a description."""

    package: str
    text: str


SYSTEMS = {
    "sensors": System("sensors", "readings from sensors over TCP, on disk before they are acknowledged"),
    "images": System("images", "images over gRPC and RabbitMQ, converted to grey by workers, results in S3"),
    "list": System("list", "shared lists over ZeroMQ, every change on disk before its response"),
    "cpu": System("cpu", "CPU and other metrics of every host, live and with history"),
    "peers": System("peers", "tasks on accounts, executed by workers that servers lend each other"),
    "dashboard": System("observer", "the whole fleet as a page: hosts, units, journals, and each system, live"),
}
# Commands over all systems.
FLEET_COMMANDS = {
    "status": System("observer.status", "the units of every host: state, release, restarts, memory, last error"),
    "trace": System("observer.trace", "one request on its way over all hosts, as a timeline"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 for a failure, 2 for usage, 78 for invalid settings."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal's encoding may lack "°"
    try:
        args = _parse(words)
        status: int = args.run(args)
    except SettingsError as error:
        _complain(error)
        return EXIT_CONFIG
    except BrokenPipeError:  # the reader of standard output has exited, as `head` does: not an error
        standard_output.discard()
        return 1
    except (StateError, OSError) as error:
        _complain(error)
        standard_output.discard()
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _complain(error: Exception) -> None:
    """Print an error; a server's text in it must not control the terminal."""
    from frota.logs.log import printable

    print(f"frota: {printable(str(error))}", file=sys.stderr)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="frota",
        description="Five classic distributed systems as one fleet.",
        epilog="example: frota sensors serve --port 5000 --state-dir readings",
    )
    systems = parser.add_subparsers(title="systems, and commands over all of them", metavar="SYSTEM", required=True)
    for name, (package, text) in (SYSTEMS | FLEET_COMMANDS).items():
        system = systems.add_parser(name, help=text, description=text)
        if words[:1] == [name]:
            importlib.import_module(f"frota.{package}.cli").add_commands(system)
    return parser.parse_args(words)
