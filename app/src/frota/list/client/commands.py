"""The commands that send one request, or one per element, and print the responses."""

import argparse
import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from frota.list import client_settings, keys
from frota.list.client.client import Client, Response
from frota.list.settings import SYSTEM
from frota.logs import log
from frota.logs.log import printable

_MAX_LINE_BYTES = 2**20  # on standard input; servers accept far less
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
Requests = Iterable[tuple[str, dict[str, Any]]]


# Characters that terminals interpret and JSON does not escape.
_ESCAPES = {code: f"\\u{code:04x}" for code in map(ord, map(chr, range(127, 0x2070))) if not chr(code).isprintable()}


class InvalidInput(OSError):
    """Typed or piped input that cannot be sent: says why, and in which line."""


def with_client(args: argparse.Namespace, work: Callable[[Client], int]) -> int:
    """Read the settings, run work with a client, and return its exit status."""
    log.configure(SYSTEM, "frota-list-client")
    reread = partial(client_settings.read, args)
    config = reread()
    if args.check:
        if config.key_file:
            keys.read_secret(config.key_file)
        return 0
    with Client(config, reread) as client:
        return work(client)


def run(args: argparse.Namespace) -> int:
    """Run one command: 0 when it is done, 1 when it was rejected or found nothing."""
    return with_client(args, partial(_execute, args))


def _execute(args: argparse.Namespace, client: Client) -> int:
    for op, fields in _REQUESTS[args.command](args):
        response = client.ask(op, **fields)
        write(response.fields if args.json else None, _lines(op, response))
        if not response.ok:  # later elements may depend on it
            return 1
    return 0


def write(fields: dict[str, Any] | None, lines: Iterable[str]) -> None:
    """Print an object for machines, or lines for people, without terminal control characters."""
    if fields is None:
        for line in lines:  # one by one: of a single write, Python would not report a rest that failed
            print(printable(line))
    else:
        # JSON escapes what the encoding lacks. A closed standard output has no encoding.
        escaped = getattr(sys.stdout, "encoding", "utf-8").lower() != "utf-8"
        print(json.dumps(fields, ensure_ascii=escaped).translate(_ESCAPES))
    if sys.stdout:
        sys.stdout.flush()


def _lines(op: str, response: Response) -> Iterable[str]:
    if response.ok and op == "show":
        return list(response.fields["elements"])
    if response.ok and op == "lists":
        return (f"{length:>9}  {name}" for name, length in response.fields["lists"].items())
    if response.ok and op == "search" and "positions" in response.fields:
        positions, found = response.fields["positions"], response.fields.get("found", 0)
        rest = f", … {found} no total" if found > len(positions) else ""
        return [f"{response.text} ({', '.join(map(str, positions))}{rest})"]
    return [response.text, response.hint] if response.hint else [response.text]


def _append(args: argparse.Namespace) -> Requests:
    for value in args.values:
        for element in _input_lines() if value == "-" else (value,):
            yield "append", {"value": element}


def _input_lines() -> Iterator[str]:
    """Yield the lines of standard input, without their ends. Raises InvalidInput."""
    if not sys.stdin:
        raise InvalidInput("standard input is closed")
    number = 0
    while line := sys.stdin.buffer.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise InvalidInput(f"standard input, line {number}: longer than {_MAX_LINE_BYTES} bytes")
        try:
            # Windows puts a byte order mark before piped input.
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            reason = "it is UTF-16" if line[:2] in _UTF16 else f"{error.reason}, byte {error.start}"
            raise InvalidInput(f"standard input, line {number}: no UTF-8 ({reason})") from None


def _show(args: argparse.Namespace) -> Requests:
    start, stop = args.slice
    return [("show", {"start": start, "stop": stop})]


def _sort(args: argparse.Namespace) -> Requests:
    return [("sort", {"by": args.by, "descending": args.descending})]


def _insert(args: argparse.Namespace) -> Requests:
    return [("insert", {"position": args.position, "value": args.value})]


def _value_only(op: str, args: argparse.Namespace) -> Requests:
    return [(op, {"value": args.value})]


def _no_arguments(op: str, _args: argparse.Namespace) -> Requests:
    return [(op, {})]


_REQUESTS: dict[str, Callable[[argparse.Namespace], Requests]] = {
    "show": _show,
    "append": _append,
    "insert": _insert,
    "sort": _sort,
    **{op: partial(_value_only, op) for op in ("remove", "search")},
    **{op: partial(_no_arguments, op) for op in ("clear", "undo", "lists")},
}
