"""History: stored readings from the WAL's files in a server's state folder."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from frota.logs.log import printable
from frota.sensors.readings import Query, StoredReading
from frota.storage.wal import segment
from frota.storage.wal.log import Position
from frota.storage.wal.reader import Damage, Reader


class Illegible(NamedTuple):
    """Stored texts of one segment that are no readings: how many, and the first of them."""

    path: Path
    readings: int
    example: str

    def __str__(self) -> str:
        what = "1 reading" if self.readings == 1 else f"{self.readings} readings"
        return f"{self.path}: {what} cannot be read and are skipped, for example {printable(self.example[:80])!r}"


Fields = dict[str, Any]
Damaged = Callable[[Damage | Illegible], None]


def history(
    directory: Path,
    query: Query,
    damaged: Damaged,
    until: Position | None = None,
    is_needed: Callable[[], bool] = lambda: True,
) -> Iterator[Fields]:
    """Yield the matching readings up to `until`, oldest first; stop soon once `is_needed` returns False.

    Segments are read only when the first reading is requested, which may take as long as reading all of them. Damage
    goes to `damaged`, possibly more than once; illegible readings count towards `query.last`.
    """
    reader = Reader(directory, until, damaged)
    numbers, skip = reader.find_last(query.last, query.count, query.since_us / 1e6, is_needed)
    for number in itertools.takewhile(lambda _: is_needed(), numbers):
        readings = itertools.chain.from_iterable(map(query.select, reader.records(number)))
        illegible: list[str] = []
        yield from legible(itertools.islice(readings, skip, None), illegible)
        if illegible:
            damaged(Illegible(segment.path_of(directory, number), len(illegible), illegible[0]))
        skip = 0


def legible(readings: Iterator[StoredReading], illegible: list[str]) -> Iterator[Fields]:
    """Yield the fields of readings; append the texts of illegible ones to `illegible`."""
    for reading in readings:
        try:
            fields = reading.fields()
        except ValueError:
            illegible.append(reading.text)
        else:
            yield fields
