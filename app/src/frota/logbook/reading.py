"""Reading a log, also while another process writes it; needs no claim on the folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

from frota.logbook import segments
from frota.logbook.segments import DATA, Record
from frota.logbook.store import Position


def records(directory: Path, number: int, until: Position | None = None) -> Iterator[Record]:
    """Yield the data records of one segment, none beyond `until`; nothing if it has been retired meanwhile."""
    path = segments.path_of(directory, number)
    try:
        with path.open("rb") as file:
            data = file.read(until.offset if until and until.segment == number else -1)
    except FileNotFoundError:
        return
    if data.startswith(segments.MAGIC):
        for _, found in segments.scan(data):
            yield from (record for record in found if record.kind == DATA)


def find_last(  # noqa: PLR0913 -- what to look for, how far, how long
    directory: Path,
    most: int,
    count: Callable[[Record], int],
    *,
    since: float = 0,
    until: Position | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> tuple[list[int], int]:
    """Find where the last items, `most` of them, begin: the segments that hold them, oldest first, how many to skip.

    `count` tells how many items of a record are meant. Reads backwards from the newest segment and no further than
    needed, nor further than the segment that was being written at `since` (seconds since 1970), and gives up when the
    answer is no longer `wanted`.
    """
    numbers = [number for number in segments.listed(directory) if not until or number <= until.segment]
    chosen: list[int] = []
    found = 0
    while numbers and found < most and wanted():
        chosen.insert(0, numbers.pop())
        found += sum(map(count, records(directory, chosen[0], until)))
        if since and _begun_before(directory, chosen[0], since):
            break
    return chosen, max(0, found - most)


def _begun_before(directory: Path, number: int, since: float) -> bool:
    try:
        return segments.opened(segments.path_of(directory, number)) < since
    except FileNotFoundError:
        return True
