"""`history` and `tail`: kept readings on standard output, for people or, as JSON lines, for machines."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from frota.core import output
from frota.core.backoff import Backoff
from frota.core.errors import ServerUnavailable, StateError
from frota.core.settings import SettingsError
from frota.logs.log import printable
from frota.sensors import history as kept
from frota.sensors import readings
from frota.sensors.readings import Query
from frota.sensors.viewer.query import ask

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0  # between two tries to connect


class Seen:
    """How far a tail has got: a time, and which readings of that very time were shown.

    A record gives all its readings one time, so the end of a connection may part readings of one time.
    """

    def __init__(self) -> None:
        self._shown: list[dict[str, Any]] = []  # of the last time

    @property
    def time(self) -> str:
        """The time of the last reading that was shown, empty at first."""
        return str(self._shown[0]["time"]) if self._shown else ""

    def note(self, reading: dict[str, Any]) -> None:
        """Take note of a reading that is shown now."""
        if reading["time"] != self.time:
            self._shown = []
        self._shown.append(reading)

    def unseen(self, found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield, of the readings from `time` on, those behind the ones that were shown.

        Readings before those are left out too: they are more than was asked for. Where the shown ones begin is found as
        Knuth, Morris and Pratt find a word in a text, since several readings may be the same.
        """
        time, shown, matched = self.time, self._shown.copy(), 0
        borders = _borders(shown)
        for one in found:
            if matched == len(shown) or one["time"] != time:
                matched = len(shown)
                yield one
                continue
            while matched and one != shown[matched]:
                matched = borders[matched - 1]
            matched += one == shown[matched]


def _borders(word: list[dict[str, Any]]) -> list[int]:
    """Return, for each beginning of a word, how much of it is both its beginning and its end."""
    borders = [0] * len(word)
    for end in range(1, len(word)):
        length = borders[end - 1]
        while length and word[end] != word[length]:
            length = borders[length - 1]
        borders[end] = length + (word[end] == word[length])
    return borders


def history(args: argparse.Namespace) -> int:
    """Print what is kept, from a folder or by asking a server."""
    query = _query(args)
    if args.state_dir is None:
        _print(ask(args.host, args.port, "history", query, _tell), args.json)
        return 0
    if not args.state_dir.is_dir():
        raise StateError(f"no readings in {args.state_dir}: no such folder")
    _print(kept.history(args.state_dir, query, _tell), args.json)
    return 0


def tail(args: argparse.Namespace) -> int:
    """Print the last readings, then new ones, for ever; connect anew when the server goes away."""
    query, seen, backoff = _query(args), Seen(), Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
    try:
        while True:
            try:
                for reading in seen.unseen(ask(args.host, args.port, "tail", query, _tell)):
                    backoff.reset()
                    seen.note(reading)
                    _print([reading], args.json)
            except (ServerUnavailable, TimeoutError) as error:
                print(f"frota: {error}; trying again", file=sys.stderr)
            if seen.time:  # all that came meanwhile
                query = query._replace(last=readings.MOST, since_us=readings.parse_since(seen.time, datetime.now(UTC)))
            time.sleep(backoff.pause())  # no event tells that the server is back
    except (KeyboardInterrupt, BrokenPipeError):  # somebody has seen enough
        output.discard()
        return 0


@cache  # a segment may be read twice: to find the beginning, and to print
def _tell(damage: object) -> None:
    print(f"frota: {damage}", file=sys.stderr)


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


def _print(found: Iterable[dict[str, object]], as_json: bool) -> None:
    """Print readings. Raises BrokenPipeError when the reader of standard output has ended."""
    # JSON has its own way to say what a terminal cannot show; a closed standard output has no encoding.
    escaped = getattr(sys.stdout, "encoding", "utf-8").lower() != "utf-8"
    for one in found:
        mark = "" if one["in_range"] else "  (out of range)"
        line = f"{one['time']}  {one['text']}  {one['peer']}{mark}"
        print(json.dumps(one, ensure_ascii=escaped) if as_json else printable(line), flush=True)
