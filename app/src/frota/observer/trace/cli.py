"""`frota trace ID` and `frota trace --last SYSTEM [N]`."""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from frota.core import commands, trace
from frota.logs.log import printable
from frota.observer import hosts

_ORDER = """The records of a trace are ordered by the clocks of their hosts; those of one host keep the order of its
journal. Where the clocks of two hosts differ by more than a hop takes, the effect may be shown before its cause; the
time between records of the same host is right in any case. Hosts that do not respond are named on standard error, and
make the exit status 1; so does a trace without a record."""
# The events whose records have a trace id, by system.
EVENTS = {
    "images": ("image_queued", "image_rejected", "image_done", "image_dead_lettered"),
    "list": ("request", "response"),
    "peers": ("task_accepted", "task_done", "task_failed", "task_dead"),
    "sensors": ("reading", "reading_out_of_range", "reading_sent", "response", "reading_rejected", "connection_failed"),
    "cpu": ("sample", "message_malformed", "connection_rejected"),
}
_DEFAULT_COUNT, _MAX_COUNT = 10, 1000
_RECORDS_PER_TRACE = 4  # of one host, that --last reads


class Last(NamedTuple):
    """The traces to list: of which system, and how many."""

    system: str
    number: int


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Make a parser that of `frota trace`."""
    commands.describe(parser, _trace, "frota trace 4bf92f3577b34da6a3ce929d0e0e4736")
    parser.description = f"Show one request on its way over all hosts. {_ORDER}"
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", type=_trace_id, metavar="ID", help="trace id, 32 hexadecimal digits")
    text = f"list the last N traces of a system ({_DEFAULT_COUNT}): {', '.join(EVENTS)}"
    which.add_argument("--last", nargs="+", action=_Last, metavar=("SYSTEM", "N"), help=text)
    where = parser.add_mutually_exclusive_group()
    text = "folder with journals, read instead of the hosts' own (/var/log/journal/remote on the observer)"
    where.add_argument("--journal-dir", type=Path, metavar="DIR", help=text)
    hosts.add_ssh_config(where)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


class _Last(argparse.Action):
    """`--last SYSTEM [N]`."""

    def __call__(self, _parser: Any, namespace: argparse.Namespace, words: Any, _option: str | None = None) -> None:
        system, *counts = words
        if system not in EVENTS:
            raise argparse.ArgumentError(self, f"{system!a}: must be one of {', '.join(EVENTS)}")
        if counts and not (len(counts) == 1 and counts[0].isdecimal() and 1 <= int(counts[0][:9]) <= _MAX_COUNT):
            raise argparse.ArgumentError(self, f"{' '.join(counts)!a}: N must be from 1 to {_MAX_COUNT}")
        namespace.last = Last(system, int(counts[0]) if counts else _DEFAULT_COUNT)


def _trace_id(text: str) -> str:
    try:
        return trace.parse_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _trace(args: argparse.Namespace) -> int:
    from frota.observer.trace import output, sources, timeline

    source = sources.choose(args.journal_dir, args.ssh_config)
    if args.last:
        system, number = args.last
        matches = [f"FROTA_SYSTEM={system}", *(f"FROTA_EVENT={event}" for event in EVENTS[system])]
        found = source.find(*matches, lines=number * _RECORDS_PER_TRACE, newest_first=True)
        traces = timeline.recent(found.journals, number)
        (output.print_recent_json if args.json else output.print_recent)(traces)
        return _status(found.failures, "" if traces else f"no trace of {system} in {found.origin}")
    found = source.find(f"TRACE_ID={args.id}")
    hops = timeline.timeline(found.journals)
    if args.json:
        output.print_json(hops, args.id)
    elif hops:
        output.print_timeline(hops, args.id, found.origin)
    return _status(found.failures, "" if hops else f"no record of trace {args.id} in {found.origin}")


def _status(failures: dict[str, str], nothing: str) -> int:
    """Complain of journals that are missing, and that nothing was found; return the exit status."""
    complaints = [f"{name}: {reason}" for name, reason in failures.items()]
    for complaint in [*complaints, *([nothing] if nothing else [])]:
        print(f"frota: {printable(complaint)}", file=sys.stderr)
    return 1 if failures or nothing else 0
