"""The commands that ask the list's server once, or once per element, and print its answers."""

import argparse
import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from frota.logs import log
from frota.logs.log import printable
from frota.remote_list import access, keys
from frota.remote_list.client.client import Answer, Client
from frota.remote_list.settings import SYSTEM

_LONGEST_LINE = 2**20  # bytes of an element on standard input; servers take far less
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
Requests = Iterable[tuple[str, dict[str, Any]]]


# What terminals obey or are confused by, and JSON leaves as it is.
_OBEYED = {code: f"\\u{code:04x}" for code in map(ord, map(chr, range(127, 0x2070))) if not chr(code).isprintable()}


class BadInput(OSError):
    """Standard input holds what is no element: says in which line."""


def connected(args: argparse.Namespace, work: Callable[[Client], int]) -> int:
    """Read the settings, do some work with a client, and return its exit status."""
    log.configure(SYSTEM, "frota-list-client")
    reread = partial(access.read, args)
    config = reread()
    if args.check:
        if config.key_file:
            keys.read_secret(config.key_file)
        return 0
    with Client(config, reread) as client:
        return work(client)


def run(args: argparse.Namespace) -> int:
    """Carry out one command: 0 when it is done, 1 when it was refused or nothing was found."""
    return connected(args, partial(_carry_out, args))


def _carry_out(args: argparse.Namespace, client: Client) -> int:
    for op, fields in _REQUESTS[args.command](args):
        answer = client.ask(op, **fields)
        write(answer.fields if args.json else None, _lines(op, answer))
        if not answer.ok:  # what comes behind may rely on it
            return 1
    return 0


def write(fields: dict[str, Any] | None, lines: Iterable[str]) -> None:
    """Print an object for machines, or lines for people, who get nothing that their terminal would obey."""
    if fields is None:
        for line in lines:  # in one piece, Python would not tell that the rest of it could not be written
            print(printable(line))
    else:
        # JSON can say what a terminal cannot show, or would obey. A closed standard output has no encoding.
        escaped = getattr(sys.stdout, "encoding", "utf-8").lower() != "utf-8"
        print(json.dumps(fields, ensure_ascii=escaped).translate(_OBEYED))
    if sys.stdout:
        sys.stdout.flush()


def _lines(op: str, answer: Answer) -> Iterable[str]:
    if answer.ok and op == "show":
        return list(answer.fields["elements"])
    if answer.ok and op == "lists":
        return (f"{length:>9}  {name}" for name, length in answer.fields["lists"].items())
    if answer.ok and op == "search" and "positions" in answer.fields:
        positions, found = answer.fields["positions"], answer.fields.get("found", 0)
        rest = f", … {found} no total" if found > len(positions) else ""
        return [f"{answer.text} ({', '.join(map(str, positions))}{rest})"]
    return [answer.text, answer.hint] if answer.hint else [answer.text]


def _append(args: argparse.Namespace) -> Requests:
    for value in args.values:
        for element in _typed_lines() if value == "-" else (value,):
            yield "append", {"value": element}


def _typed_lines() -> Iterator[str]:
    """Yield the lines of standard input, without their ends. Raises BadInput."""
    if not sys.stdin:
        raise BadInput("standard input is closed")
    number = 0
    while line := sys.stdin.buffer.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise BadInput(f"standard input, line {number}: longer than {_LONGEST_LINE} bytes")
        try:
            # Windows puts a byte order mark before what it pipes, which is no part of the first element.
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            reason = "it is UTF-16" if line[:2] in _UTF16 else f"{error.reason}, byte {error.start}"
            raise BadInput(f"standard input, line {number}: no UTF-8 ({reason})") from None


def _show(args: argparse.Namespace) -> Requests:
    start, stop = args.slice
    return [("show", {"start": start, "stop": stop})]


def _sort(args: argparse.Namespace) -> Requests:
    return [("sort", {"by": args.by, "descending": args.descending})]


def _insert(args: argparse.Namespace) -> Requests:
    return [("insert", {"position": args.position, "value": args.value})]


def _one_value(op: str, args: argparse.Namespace) -> Requests:
    return [(op, {"value": args.value})]


def _plain(op: str, _args: argparse.Namespace) -> Requests:
    return [(op, {})]


_REQUESTS: dict[str, Callable[[argparse.Namespace], Requests]] = {
    "show": _show,
    "append": _append,
    "insert": _insert,
    "sort": _sort,
    **{op: partial(_one_value, op) for op in ("remove", "search")},
    **{op: partial(_plain, op) for op in ("clear", "undo", "lists")},
}
