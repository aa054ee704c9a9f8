"""`frota cpu top`: all hosts on the whole screen, once as text, or as JSON lines."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime

from rich.console import Console

from frota.cpu.viewer import gauges
from frota.cpu.viewer.gauges import Glyphs
from frota.cpu.viewer.host_list import HostList
from frota.cpu.viewer.host_status import Host
from frota.cpu.viewer.query import Client
from frota.cpu.viewer.rows import Server, listing
from frota.logs.log import printable

_EXIT_USAGE = 2
_MIN_COLUMNS, _DEFAULT_COLUMNS, _MAX_COLUMNS = 20, 80, 1000


def run(args: argparse.Namespace) -> int:
    """Show the hosts as `args` say; return the exit status. Raises ServerUnavailable and WrongServer."""
    hosts = HostList(args.sort, args.filter)
    if args.json:
        for line in _json_lines(args, hosts):
            print(line, flush=True)
        return 0
    if args.once:
        return _print_once(args, hosts)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        print("frota: this is no terminal: --once prints the list as text, --json for machines", file=sys.stderr)
        return _EXIT_USAGE
    return _show(args, hosts)


def _show(args: argparse.Namespace, hosts: HostList) -> int:
    """Show the list on the whole screen until the user quits."""
    from frota.cpu.viewer.poller import Poller

    poller = Poller(Client(args.host, args.port), args.interval)
    from frota.cpu.viewer.app import TopApp  # imports Textual, which no other command needs

    app = TopApp(poller, hosts, Server(args.host, args.port), _glyphs())
    app.run(mouse=False)  # the terminal's own selection of text works
    return app.return_code or 0


def _print_once(args: argparse.Namespace, hosts: HostList) -> int:
    with Client(args.host, args.port) as client:
        hosts.update(client.hosts())
    clock = datetime.now().astimezone().strftime("%H:%M:%S")
    lines = listing(hosts, Server(args.host, args.port), clock, _columns(), _glyphs())
    if not sys.stdout.isatty():
        print(*(line.plain for line in lines), sep="\n")
        return 0
    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=True)
    return 0


def _columns() -> int:
    """Return the columns to print in: the terminal's, or those of COLUMNS, or 80."""
    if sys.stdout.isatty():
        return os.get_terminal_size(1).columns or _DEFAULT_COLUMNS
    columns = os.environ.get("COLUMNS", "")
    if not columns.isdecimal() or len(columns) > 9:
        return _DEFAULT_COLUMNS
    return min(max(int(columns), _MIN_COLUMNS), _MAX_COLUMNS)


def _json_lines(args: argparse.Namespace, hosts: HostList) -> Iterator[str]:
    """Yield a line per host, once or for ever. An error ends the command before the first response, but not later."""
    has_response = is_unavailable = False
    with Client(args.host, args.port) as client:
        while True:
            try:
                hosts.update(client.hosts())
            except OSError as error:
                if not has_response:
                    raise
                if not is_unavailable:
                    print(f"frota: {printable(str(error))}; trying again", file=sys.stderr)
                is_unavailable = True
            else:
                has_response, is_unavailable = True, False
                yield from map(_json_line, hosts.shown)
            if args.once:
                return
            time.sleep(args.interval)  # the interval that the user chose


def _json_line(host: Host) -> str:
    """Return the line as the server sent it, or escaped if it has characters that control a terminal."""
    text = host.line.decode()
    return text if text.isascii() and text.isprintable() else json.dumps(host.fields)


def _glyphs() -> Glyphs:
    """Return the characters that the terminal can show, by its locale and type."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    is_plain = locale in ("C", "POSIX") or os.environ.get("TERM") == "linux"  # whose font has no blocks
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return gauges.ASCII if is_plain or encoding != "utf8" else gauges.UNICODE
