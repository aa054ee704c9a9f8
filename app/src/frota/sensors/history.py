"""Kept readings, from the files of a server's state folder."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from frota.logs.log import printable
from frota.sensors.readings import Kept, Query
from frota.storage.wal import segment
from frota.storage.wal.log import Position
from frota.storage.wal.reader import Damage, Reader


class Illegible(NamedTuple):
    """Readings of one segment that cannot be shown: how many, and the text of the first."""

    path: Path
    readings: int
    example: str

    def __str__(self) -> str:
        what = "1 reading" if self.readings == 1 else f"{self.readings} readings"
        return f"{self.path}: {what} cannot be read and left out, for example {printable(self.example[:80])!r}"


Fields = dict[str, Any]
Damaged = Callable[[Damage | Illegible], None]


def history(
    directory: Path,
    query: Query,
    damaged: Damaged,
    until: Position | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[Fields]:
    """Yield the readings that are asked for, oldest first; end soon when they are no longer `wanted`.

    Nothing is read before the first reading is taken, which may then take as long as reading the whole log. What
    cannot be read goes to `damaged`, more than once if it is met more than once; it counts for those asked for.
    """
    reader = Reader(directory, until, damaged)
    numbers, skip = reader.find_last(query.last, query.count, query.since_us / 1e6, wanted)
    for number in itertools.takewhile(lambda _: wanted(), numbers):
        found = itertools.chain.from_iterable(map(query.select, reader.records(number)))
        illegible: list[str] = []
        yield from legible(itertools.islice(found, skip, None), illegible)
        if illegible:
            damaged(Illegible(segment.path_of(directory, number), len(illegible), illegible[0]))
        skip = 0


def legible(found: Iterator[Kept], illegible: list[str]) -> Iterator[Fields]:
    """Yield what can be shown of readings; the texts of the others go to `illegible`."""
    for kept in found:
        try:
            fields = kept.fields()
        except ValueError:
            illegible.append(kept.text)
        else:
            yield fields
