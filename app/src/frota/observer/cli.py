"""`frota dashboard serve | password`."""

import argparse
import getpass
import sys
from functools import partial

from frota.core import commands
from frota.observer.settings import DASHBOARD_UNIT, PREFIX, SYSTEM, DashboardSettings


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add this system's commands to its parser."""
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    example = "frota dashboard serve --port 8080 --sensors 127.0.0.1:5000 --state-dir dashboard"
    serve = commands.add(group, "serve", _serve, "show the whole fleet as a page", example)
    commands.configurable(serve, DashboardSettings, PREFIX)
    example = "frota dashboard password ana --role operator"
    password = commands.add(group, "password", _password, "print a user's line for DASHBOARD_USERS_FILE", example)
    password.add_argument("name", metavar="NAME", help="the user: letters, digits, '.', '_', '@' or '-'")
    password.add_argument("--role", default="viewer", choices=("viewer", "operator"), help="default %(default)s")


def _serve(args: argparse.Namespace) -> int:
    reread = partial(commands.read, DashboardSettings, PREFIX, args)
    return commands.serve(args, SYSTEM, DASHBOARD_UNIT, reread, "frota.observer.dashboard.service:Dashboard")


def _password(args: argparse.Namespace) -> int:
    """Ask for a password, without echo on a terminal, and print the user's line."""
    from frota.observer.dashboard import users  # here: the other commands do without hashlib

    if sys.stdin.isatty():
        first = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != first:
            print("frota: the passwords differ; run this again", file=sys.stderr)
            return 1
    else:
        first = sys.stdin.readline().rstrip("\n")
    print(users.line(args.name, args.role, first))
    return 0
