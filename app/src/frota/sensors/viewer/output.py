"""`history` and `tail`: readings on standard output, as text or as JSON lines."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from frota.core import standard_output, trace
from frota.core.backoff import Backoff
from frota.core.errors import ServerUnavailable, StateError
from frota.core.settings import SettingsError
from frota.logs.log import printable
from frota.sensors import history as stored
from frota.sensors import readings
from frota.sensors.readings import Query
from frota.sensors.viewer.query import request

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 10.0  # between attempts to connect


class Progress:
    """How far a tail has got: the last time, and the readings of that time that were shown.

    All readings of a record have the same time, so a disconnect may separate readings of one time.
    """

    def __init__(self) -> None:
        self._shown: list[dict[str, Any]] = []  # of the last time

    @property
    def time(self) -> str:
        """The time of the last reading that was shown, empty at first."""
        return str(self._shown[0]["time"]) if self._shown else ""

    def note(self, reading: dict[str, Any]) -> None:
        """Note a reading that is shown."""
        if reading["time"] != self.time:
            self._shown = []
        self._shown.append(reading)

    def unseen(self, readings: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield, of the readings from `time` on, those after the ones that were shown.

        Readings before those are skipped, too. Several readings may be equal, so the shown ones are found in the
        sequence with the algorithm of Knuth, Morris and Pratt.
        """
        time, shown, matched = self.time, self._shown.copy(), 0
        borders = _borders(shown)
        for reading in readings:
            if matched == len(shown) or reading["time"] != time:
                matched = len(shown)
                yield reading
                continue
            while matched and reading != shown[matched]:
                matched = borders[matched - 1]
            matched += reading == shown[matched]


def _borders(word: list[dict[str, Any]]) -> list[int]:
    """Return, for each prefix of a word, the length of its longest proper prefix that is also its suffix."""
    borders = [0] * len(word)
    for end in range(1, len(word)):
        length = borders[end - 1]
        while length and word[end] != word[length]:
            length = borders[length - 1]
        borders[end] = length + (word[end] == word[length])
    return borders


def history(args: argparse.Namespace) -> int:
    """Print stored readings, from a folder or from a server."""
    query = _query(args)
    if args.state_dir is None:
        _print(request(args.host, args.port, "history", query, _report), args.json)
        return 0
    if not args.state_dir.is_dir():
        raise StateError(f"no readings in {args.state_dir}: no such folder")
    _print(stored.history(args.state_dir, query, _report), args.json)
    return 0


def tail(args: argparse.Namespace) -> int:
    """Print the last readings, then new ones, for ever; reconnect when the server becomes unavailable."""
    query, progress, backoff = _query(args), Progress(), Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)
    try:
        while True:
            try:
                for reading in progress.unseen(request(args.host, args.port, "tail", query, _report)):
                    backoff.reset()
                    progress.note(reading)
                    _print([reading], args.json)
            except (ServerUnavailable, TimeoutError) as error:
                print(f"frota: {error}; retrying", file=sys.stderr)
            if progress.time:  # everything since then
                query = query._replace(
                    last=readings.MAX_READINGS, since_us=readings.parse_since(progress.time, datetime.now(UTC))
                )
            time.sleep(backoff.pause())  # no event tells that the server is available
    except (KeyboardInterrupt, BrokenPipeError):  # Ctrl+C, or the reader of the pipe has ended
        standard_output.discard()
        return 0


@cache  # damage is reported again when a segment is read twice
def _report(damage: object) -> None:
    print(f"frota: {damage}", file=sys.stderr)


def _query(args: argparse.Namespace) -> Query:
    try:
        since = readings.parse_since(args.since, datetime.now(UTC)) if args.since else 0
    except ValueError as error:
        raise SettingsError(f"--since {error}") from None
    if not readings.is_name(args.sensor):
        raise SettingsError(f"--sensor {args.sensor!a}: no sensor has such a name")
    if not 0 <= args.last <= readings.MAX_READINGS:
        raise SettingsError(f"--last {args.last}: must be from 0 to {readings.MAX_READINGS}")
    return Query(args.last, args.sensor, since)


def _print(readings: Iterable[dict[str, object]], as_json: bool) -> None:
    """Print readings. Raises BrokenPipeError when the reader of standard output has ended."""
    # JSON can escape what a terminal cannot show; a closed standard output has no encoding.
    escaped = getattr(sys.stdout, "encoding", "utf-8").lower() != "utf-8"
    for reading in readings:
        mark = "" if reading["in_range"] else "  (out of range)"
        line = f"{reading['time']}  {reading['text']}  {reading['peer']}{mark}"
        print(json.dumps(_traced(reading), ensure_ascii=escaped) if as_json else printable(line), flush=True)


def _traced(reading: dict[str, object]) -> dict[str, object]:
    """Return a reading with its trace id, if a client numbered it: for `frota trace`."""
    client, number = reading.get("client"), reading.get("number")
    if not (isinstance(client, str) and type(number) is int):
        return reading
    return reading | {"trace_id": trace.derive(client, number)}
