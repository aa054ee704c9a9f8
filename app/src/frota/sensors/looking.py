"""`history` and `tail`: kept readings on standard output, for people or, as JSON lines, for machines."""

import argparse
import json
import os
import random
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from frota.core.log import printable
from frota.core.settings import SettingsError
from frota.core.state import StateError
from frota.sensors import readings, viewing
from frota.sensors.messages import ERROR
from frota.sensors.readings import Query

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0  # a long history is looked for before its first line


class Unreachable(ConnectionError):
    """There is no server, or it ended the conversation: says which."""


def history(args: argparse.Namespace) -> int:
    """Print what is kept, from a folder or by asking a server."""
    query = _query(args)
    if args.state_dir is None:
        return _print(_ask(args, "history", query), args.json)
    if not args.state_dir.is_dir():
        raise StateError(f"no readings in {args.state_dir}: no such folder")
    return _print((kept.fields() for kept in viewing.history(args.state_dir, query)), args.json)


def tail(args: argparse.Namespace) -> int:
    """Print the last readings, then new ones, for ever; connect anew when the server goes away."""
    query, failures = _query(args), 0
    try:
        while True:
            try:
                for reading in _ask(args, "tail", query):
                    failures = 0
                    # After a reconnection: all that came meanwhile, but nothing that is printed already.
                    since = readings.parse_since(str(reading["time"]), datetime.now(UTC)) + 1
                    query = query._replace(last=readings.MOST, since_us=since)
                    if _print([reading], args.json):
                        return 0
            except (ConnectionError, TimeoutError) as error:
                print(f"frota: {error}; trying again", file=sys.stderr)
            failures += 1
            time.sleep(random.uniform(0.5, 1) * min(10, 0.25 * 2**failures))
    except KeyboardInterrupt:
        return 0


def _query(args: argparse.Namespace) -> Query:
    try:
        since = readings.parse_since(args.since, datetime.now(UTC)) if args.since else 0
    except ValueError as error:
        raise SettingsError(f"--since {error}") from None
    if not readings.is_name(args.sensor):
        raise SettingsError(f"--sensor {args.sensor!a}: no sensor has such a name")
    if not 0 <= args.last <= readings.MOST:
        raise SettingsError(f"--last {args.last}: must be from 0 to {readings.MOST}")
    return Query(args.last, args.sensor, since)


def _ask(args: argparse.Namespace, command: str, query: Query) -> Iterator[dict[str, object]]:
    """Ask a server and yield its answer. Raises Unreachable."""
    where = readings.endpoint(args.host, args.port)
    try:
        connection = socket.create_connection((args.host, args.port), _CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
        raise Unreachable(f"no sensor server at {where}: {getattr(error, 'strerror', None) or error}") from None
    with connection, connection.makefile("r", encoding="utf-8") as lines:
        connection.settimeout(_ANSWER_SECONDS if command == "history" else None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.sendall(f"frota {command} {query.to_json()}\n".encode())
        try:
            for line in lines:
                if line.startswith(("frota end", ERROR)):
                    if reason := line.removeprefix("frota end").strip():
                        raise Unreachable(f"{where}: {printable(reason)}")
                    return
                yield json.loads(line)
        except (OSError, ValueError) as error:
            raise error if isinstance(error, Unreachable) else Unreachable(f"{where}: {error}") from None
    raise Unreachable(f"{where}: the server closed the connection")


def _print(found: Iterable[dict[str, object]], as_json: bool) -> int:
    """Print readings; return 1 when nobody reads any more."""
    # JSON has its own way to say what a terminal cannot show; a closed standard output has no encoding.
    escaped = getattr(sys.stdout, "encoding", "utf-8").lower() != "utf-8"
    try:
        for one in found:
            mark = "" if one["in_range"] else "  (out of range)"
            line = f"{one['time']}  {one['text']}  {one['peer']}{mark}"
            print(json.dumps(one, ensure_ascii=escaped) if as_json else printable(line), flush=True)
    except BrokenPipeError:
        # Python flushes stdout once more at its end, which must find nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0
