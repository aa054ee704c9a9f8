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
    parse_host,
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
    _asking(top)
    top.add_argument("--once", action="store_true", help="print the list once and end")
    seconds = partial(_seconds, 0.1, 3600)
    top.add_argument("--interval", default=2.0, type=seconds, metavar="SECONDS", help="between looks (%(default)g)")
    top.add_argument("--sort", default="name", choices=SORT_KEYS, metavar="KEY", help=", ".join(SORT_KEYS))
    top.add_argument("--filter", default="", metavar="TEXT", help="only hosts with this in their name")
    example = "frota cpu history web-1 --seconds 600"
    history = commands.add(group, "history", _history, "print the samples of a host, oldest first", example)
    history.add_argument("name", metavar="HOST", help="the host, as `frota cpu top` names it")
    _asking(history)
    seconds = partial(_seconds, 0.1, 1e9)
    history.add_argument(
        "--seconds", default=3600.0, type=seconds, metavar="N", help="how far back (%(default)g, an hour)"
    )


def _asking(parser: argparse.ArgumentParser) -> None:
    text = "the server's host, or HOST:PORT, an IPv6 address then in [brackets] (%(default)s)"
    parser.add_argument("--host", default="127.0.0.1", type=_host, help=text)
    parser.add_argument("--port", type=arguments.port, help=f"the server's port ({messages.PORT})")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _host(text: str) -> tuple[str, int | None]:
    """Read HOST or HOST:PORT. Raises argparse.ArgumentTypeError."""
    host, colon, port = text.rpartition(":")
    with_port = bool(colon) and (host.endswith("]") or ":" not in host)
    try:
        return parse_host(host if with_port else text), arguments.port(port) if with_port else None
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _addressed(args: argparse.Namespace) -> None:
    """Take the port that stands behind the host, where none is given by itself."""
    args.host, port = args.host if isinstance(args.host, tuple) else (args.host, None)
    args.port = args.port or port or messages.PORT


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

    _addressed(args)
    return top.run(args)


def _history(args: argparse.Namespace) -> int:
    from frota.cpu.viewer.history import history

    _addressed(args)
    return history(args)
