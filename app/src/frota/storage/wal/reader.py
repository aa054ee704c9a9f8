"""Reading a log, also while another process writes it; takes no lock."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from frota.storage.wal import segment
from frota.storage.wal.log import Position
from frota.storage.wal.segment import DATA, Record

_MAX_STARTS_READ = 10_000  # of the newest segments, to find one that is not too old


class Damage(NamedTuple):
    """The part of a segment that cannot be read."""

    path: Path
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.path}: {self.length} bytes, from offset {self.offset} to the end, are damaged and skipped"


class Reader:
    """Reads the segments that exist now, up to `until`; calls `on_damage` for each part that it has to skip.

    Without `until`, an incomplete commit at the end of the newest segment is one being written, not damage.
    """

    def __init__(
        self, directory: Path, until: Position | None = None, on_damage: Callable[[Damage], None] = lambda _: None
    ) -> None:
        self._directory, self._until, self._on_damage = directory, until, on_damage
        self._numbers = [
            number for number in segment.segment_numbers(directory) if not until or number <= until.segment
        ]

    def records(self, number: int) -> Iterator[Record]:
        """Yield the data records of one segment; nothing if retention has deleted it meanwhile."""
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
        being_written = not until and number == self._numbers[-1] and segment.is_truncated(data, end)
        if end < len(data) and not being_written:
            self._on_damage(Damage(path, end, len(data) - end))

    def find_last(
        self,
        limit: int,
        count: Callable[[Record], int],
        since: float = 0,
        is_needed: Callable[[], bool] = lambda: True,
    ) -> tuple[list[int], int]:
        """Find the last `limit` items: return the segments that have them, oldest first, and how many items to skip.

        `count` returns how many matching items a record has. Reads backwards from the newest segment, no further than
        needed and not beyond a segment that ended before `since` (seconds since 1970), and stops early when `is_needed`
        returns False.
        """
        chosen: list[int] = []
        found = 0
        oldest = self._oldest(since) if since else 0
        for number in reversed(self._numbers):
            if found >= limit or number < oldest or not is_needed():
                break
            chosen.insert(0, number)
            found += sum(map(count, self.records(number)))
        return chosen, max(0, found - limit)

    def _oldest(self, since: float) -> int:
        """Return the oldest segment that was written to at `since` or later.

        The clock may have been set back: segments started before `since` may follow ones started after it.
        """
        recent = self._numbers[-_MAX_STARTS_READ:]
        for number, following in pairwise(recent):
            with suppress(FileNotFoundError):
                if segment.read_start(segment.path_of(self._directory, following)).time >= since:
                    return number
        return recent[-1] if recent else 0
