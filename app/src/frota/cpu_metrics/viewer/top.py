"""`frota cpu top`: all hosts on the whole screen, once as text, or as JSON lines."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime

from rich.console import Console

from frota.cpu_metrics.viewer import gauges, live, screen, terminal
from frota.cpu_metrics.viewer.gauges import Glyphs
from frota.cpu_metrics.viewer.host_status import Host
from frota.cpu_metrics.viewer.query import Client
from frota.cpu_metrics.viewer.rows import Screen
from frota.cpu_metrics.viewer.screen import News
from frota.cpu_metrics.viewer.view import View
from frota.logs.log import printable

_USAGE = 2


def run(args: argparse.Namespace) -> int:
    """Show what `args` ask for; return the exit status. Raises OSError where there is no server."""
    view = View(args.sort, args.filter)
    if args.json:
        for line in _json(args, view):
            print(line, flush=True)
        return 0
    if args.once:
        return _print(args, view)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        print("frota: this is no terminal: --once prints the list as text, --json for machines", file=sys.stderr)
        return _USAGE
    return live.watch(args, view, _glyphs())


def _print(args: argparse.Namespace, view: View) -> int:
    with Client(args.host, args.port) as client:
        view.take(client.hosts())
    news = News(args.host, args.port, datetime.now().astimezone().strftime("%H:%M:%S"))
    lines = screen.listing(view, news, Screen(_columns(), 0, _glyphs()))
    if not sys.stdout.isatty():
        print(*(line.plain for line in lines), sep="\n")
        return 0
    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=True)
    return 0


def _columns() -> int:
    """Return the columns to print in: the terminal's, or what COLUMNS says, 80 without."""
    if sys.stdout.isatty():
        return terminal.size()[0]
    told = os.environ.get("COLUMNS", "")
    return min(max(int(told), 20), 1000) if told.isdecimal() and len(told) < 10 else 80


def _json(args: argparse.Namespace, view: View) -> Iterator[str]:
    """Yield the hosts' lines, once or for ever; the server must be there at the beginning, and may go away later."""
    answered = away = False
    with Client(args.host, args.port) as client:
        while True:
            try:
                view.take(client.hosts())
            except OSError as error:
                if not answered:
                    raise
                if not away:
                    print(f"frota: {printable(str(error))}; trying again", file=sys.stderr)
                away = True
            else:
                answered, away = True, False
                yield from map(_line, view.shown)
            if args.once:
                return
            time.sleep(args.interval)  # what was asked for: a look at an interval


def _line(host: Host) -> str:
    """Return the line as it came, but for what a terminal could obey, which JSON has another way to say."""
    text = host.line.decode()
    return text if text.isascii() and text.isprintable() else json.dumps(host.fields)


def _glyphs() -> Glyphs:
    """Return what the terminal can show, as far as it tells."""
    named = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    plain = named in ("C", "POSIX") or os.environ.get("TERM") == "linux"  # whose font has no blocks
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return gauges.ASCII if plain or encoding != "utf8" else gauges.UNICODE
