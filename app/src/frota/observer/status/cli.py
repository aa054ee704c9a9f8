"""`frota status`."""

import argparse
import sys
from pathlib import Path

from frota.core import commands
from frota.logs.log import printable
from frota.observer import hosts

_EXIT_USAGE = 2
_EXIT_STATUSES = "Exit status: 0 if all units run, 1 if one does not or a host does not respond, 2 for wrong usage."
_TIMEOUT_S, _PARALLEL = 15.0, 16


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Make a parser that of `frota status`."""
    commands.describe(parser, _status, "frota status --host sensor-server cpu-server")
    parser.description = (
        "Show the units of every host, queried over SSH: state, since when, restarts, memory, the last error of the"
        f" last 24 hours, and the release. Outside of a checkout with a fleet: of this host. {_EXIT_STATUSES}"
    )
    parser.add_argument(
        "--host", nargs="+", metavar="NAME", help="only these hosts, as the SSH configuration names them"
    )
    hosts.add_ssh_config(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each unit, for machines")


def _status(args: argparse.Namespace) -> int:
    from frota.observer import processes
    from frota.observer.status import output, query

    ssh_config = args.ssh_config or hosts.find_ssh_config(Path.cwd())
    names = sorted(hosts.names_in(ssh_config)) if ssh_config else []
    if unknown := [name for name in args.host or () if name not in names]:
        known = ", ".join(names) or "none, since there is no SSH configuration (--ssh-config FILE)"
        print(f"frota: --host {printable(' '.join(unknown))}: no such host; known are {known}", file=sys.stderr)
        return _EXIT_USAGE
    command = query.command()
    if ssh_config:
        calls = hosts.ssh_commands(ssh_config, [name for name in names if name in (args.host or names)], command)
    else:
        calls = {"localhost": ["sh", "-c", command]}
    outcomes = processes.run(calls, _TIMEOUT_S, _PARALLEL)
    found = [query.parse(name, done.output, done.error) for name, done in outcomes.items()]
    if args.json:
        output.print_json(found)
    else:
        print(*output.lines(found, output.terminal_style()), sep="\n")
    return 0 if all(host.well for host in found) else 1
