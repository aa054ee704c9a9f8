"""`frota sensors serve | simulate | tail | history`."""

import argparse
from functools import partial
from pathlib import Path

from frota.core import commands
from frota.logs import log
from frota.net import arguments
from frota.sensors.settings import CLIENT_UNIT, KINDS, PORT, PREFIX, SERVER_UNIT, SYSTEM, ClientSettings, ServerSettings
from frota.storage.state_folder import default_directory


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add this system's commands to its parser."""
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    example = "frota sensors serve --host 127.0.0.1 --port 5000 --state-dir readings"
    serve = commands.add(group, "serve", _serve, "receive readings, store them, acknowledge them", example)
    commands.configurable(serve, ServerSettings, PREFIX)
    example = "frota sensors simulate temperature --host 127.0.0.1 --port 5000 --interval 0.5"
    simulate = commands.add(
        group, "simulate", _simulate, "send simulated readings, for ever or --count of them", example
    )
    simulate.add_argument("kind", metavar="KIND", help=f"{', '.join(KINDS)}, or any other with its settings given")
    commands.configurable(simulate, ClientSettings, PREFIX)
    example = "frota sensors tail --host 127.0.0.1 --sensor Sensor1"
    tail = commands.add(group, "tail", _tail, "print the last readings, then new ones as they arrive", example)
    _add_query_arguments(tail, last=10)
    example = "frota sensors history --state-dir readings --last 100 --json"
    history = commands.add(group, "history", _history, "print stored readings, oldest first", example)
    _add_query_arguments(history, last=100)
    history.add_argument("--state-dir", type=Path, help="read this folder instead of querying a server")


def _add_query_arguments(parser: argparse.ArgumentParser, last: int) -> None:
    arguments.add_server(parser, PORT)
    parser.add_argument("--last", default=last, type=int, metavar="N", help="maximum number of readings (%(default)s)")
    parser.add_argument("--sensor", help="readings of this sensor only")
    parser.add_argument("--since", metavar="TIME", help="readings since: 10m, 2h, or 2026-01-31T12:00:00Z")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _serve(args: argparse.Namespace) -> int:
    reread = partial(commands.read, ServerSettings, PREFIX, args)
    return commands.serve(args, SYSTEM, SERVER_UNIT, reread, "frota.sensors.server.server:SensorServer")


def _simulate(args: argparse.Namespace) -> int:
    unit = f"{CLIENT_UNIT}@{args.kind}"
    log.configure(SYSTEM, unit)
    config = commands.read(ClientSettings, PREFIX, args, KINDS.get(args.kind))
    if args.check:
        return 0
    from frota.core import service
    from frota.sensors.client.client import SensorClient

    log.configure(SYSTEM, unit, config.log_level)
    return service.run(partial(SensorClient, config, config.state_dir or default_directory(unit)))


def _history(args: argparse.Namespace) -> int:
    from frota.sensors.viewer import output

    if args.state_dir is None:
        args.host, args.port = _server(args)
    return output.history(args)


def _tail(args: argparse.Namespace) -> int:
    from frota.sensors.viewer import output

    args.host, args.port = _server(args)
    return output.tail(args)


def _server(args: argparse.Namespace) -> tuple[str, int]:
    return arguments.server(args, PORT, PREFIX, SERVER_UNIT, f"{CLIENT_UNIT}@*")
