"""Reading a log, also while another process writes it; needs no claim on the folder."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from frota.storage.wal import segment
from frota.storage.wal.log import Position
from frota.storage.wal.segment import DATA, Record

_MOST_HEADS = 10_000  # of the newest segments that are looked at for one that is not too old


class Damage(NamedTuple):
    """The part of a segment that cannot be read."""

    path: Path
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.path}: {self.length} bytes, from offset {self.offset} to the end, are damaged and left out"


class Reader:
    """Reads the segments that are there now, none beyond `until`; tells `damaged` what it had to leave out, each time.

    Without `until`, the last bytes of the newest segment may be a commit that is being written, which is no damage.
    """

    def __init__(
        self, directory: Path, until: Position | None = None, damaged: Callable[[Damage], None] = lambda _: None
    ) -> None:
        self._directory, self._until, self._damaged = directory, until, damaged
        self._numbers = [number for number in segment.listed(directory) if not until or number <= until.segment]

    def records(self, number: int) -> Iterator[Record]:
        """Yield the data records of one segment; nothing if it has been retired meanwhile."""
        path = segment.path_of(self._directory, number)
        until = self._until
        try:
            with path.open("rb") as file:
                data = file.read(until.offset if until and until.segment == number else -1)
        except FileNotFoundError:
            return
        end = 0
        if data.startswith(segment.MAGIC):
            for end, found in segment.scan(data):  # noqa: B007 -- used below
                yield from (record for record in found if record.kind == DATA)
        being_written = not until and number == self._numbers[-1] and segment.is_cut_off(data, end)
        if end < len(data) and not being_written:
            self._damaged(Damage(path, end, len(data) - end))

    def find_last(
        self,
        most: int,
        count: Callable[[Record], int],
        since: float = 0,
        wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[list[int], int]:
        """Find where the last items, `most` of them, begin: the segments with them, oldest first, how many to skip.

        `count` tells how many items of a record are meant. Reads backwards from the newest segment and no further than
        needed, nor further than a segment that ended before `since` (seconds since 1970), and gives up when the answer
        is no longer `wanted`.
        """
        chosen: list[int] = []
        found = 0
        oldest = self._oldest(since) if since else 0
        for number in reversed(self._numbers):
            if found >= most or number < oldest or not wanted():
                break
            chosen.insert(0, number)
            found += sum(map(count, self.records(number)))
        return chosen, max(0, found - most)

    def _oldest(self, since: float) -> int:
        """Return the oldest segment that was still written to at `since`, or later.

        A clock may have been set: segments that were begun before `since` may lie behind ones begun after it.
        """
        recent = self._numbers[-_MOST_HEADS:]
        for number, following in pairwise(recent):
            with suppress(FileNotFoundError):
                if segment.begun(segment.path_of(self._directory, following)).time >= since:
                    return number
        return recent[-1] if recent else 0
