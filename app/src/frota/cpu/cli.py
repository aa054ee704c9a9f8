"""`frota cpu serve | agent | top | history`."""

import argparse
import math
from functools import partial

from frota.core import commands
from frota.cpu import messages
from frota.cpu.settings import (
    AGENT_UNIT,
    PREFIX,
    SERVER_UNIT,
    SYSTEM,
    AgentSettings,
    ServerSettings,
)
from frota.logs import log
from frota.net import arguments

SORT_KEYS = ("name", "cpu", "memory", "disk", "network", "state")


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add this system's commands to its parser."""
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    example = "frota cpu serve --host 127.0.0.1 --port 5001 --state-dir metrics"
    serve = commands.add(group, "serve", _serve, "receive the agents' samples, keep and show them", example)
    commands.configurable(serve, ServerSettings, PREFIX)
    example = "frota cpu agent --host 127.0.0.1 --port 5001 --interval 5"
    agent = commands.add(group, "agent", _agent, "measure this computer and send it to a server, for ever", example)
    commands.configurable(agent, AgentSettings, PREFIX)
    example = "frota cpu top --host 127.0.0.1 --sort cpu"
    top = commands.add(group, "top", _top, "show all hosts as they are now, until q is pressed", example)
    _add_query_arguments(top)
    top.add_argument("--once", action="store_true", help="print the list once and end")
    seconds = partial(_seconds, 0.1, 3600)
    top.add_argument("--interval", default=2.0, type=seconds, metavar="SECONDS", help="between looks (%(default)g)")
    top.add_argument("--sort", default="name", choices=SORT_KEYS, metavar="KEY", help=", ".join(SORT_KEYS))
    top.add_argument("--filter", default="", metavar="TEXT", help="only hosts with this in their name")
    example = "frota cpu history web-1 --seconds 600"
    history = commands.add(group, "history", _history, "print the samples of a host, oldest first", example)
    history.add_argument("name", metavar="HOST", help="the host, as `frota cpu top` names it")
    _add_query_arguments(history)
    seconds = partial(_seconds, 0.1, 1e9)
    history.add_argument(
        "--seconds", default=3600.0, type=seconds, metavar="N", help="how far back (%(default)g, an hour)"
    )


def _add_query_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_server(parser, messages.PORT)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _seconds(least: float, most: float, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not least <= seconds <= most:  # nan is not between any
        raise argparse.ArgumentTypeError(f"{text!r}: must be from {least:.10g} to {most:.10g} seconds")
    return seconds


def _serve(args: argparse.Namespace) -> int:
    reread = partial(commands.read, ServerSettings, PREFIX, args)
    return commands.serve(args, SYSTEM, SERVER_UNIT, reread, "frota.cpu.server.server:Server")


def _agent(args: argparse.Namespace) -> int:
    log.configure_direct(SYSTEM, AGENT_UNIT)
    reread = partial(commands.read, AgentSettings, PREFIX, args)
    config = reread()
    if args.check:
        return 0
    from frota.cpu.agent import agent

    log.configure_direct(SYSTEM, AGENT_UNIT, config.log_level)
    return agent.run(config, reread)


def _top(args: argparse.Namespace) -> int:
    from frota.cpu.viewer import top

    args.host, args.port = arguments.server(args, messages.PORT, PREFIX, AGENT_UNIT)
    return top.run(args)


def _history(args: argparse.Namespace) -> int:
    from frota.cpu.viewer.history import history

    args.host, args.port = arguments.server(args, messages.PORT, PREFIX, AGENT_UNIT)
    return history(args)
