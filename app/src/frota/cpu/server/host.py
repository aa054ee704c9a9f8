"""One host: its counters, its latest samples, and those that are in no chunk yet."""

import time
from array import array
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from frota.cpu import history_chunk
from frota.cpu.server.history import MAX_CHUNK_SAMPLES, Chunk, HostRow
from frota.cpu.thresholds import Crossings

MAX_COUNT = 2**53  # of any counter: what JSON holds exactly
_SHOWN_RIVALS = 10
_SHOWN_MEANS = 60
_FIRST_CHUNK_SPREAD = 30  # samples by which first chunks are shorter, so that not all hosts end one at once


class Rival(NamedTuple):
    """A rejected agent with a host's name: its HOST:PORT, and the time of its last attempt (monotonic seconds)."""

    name: str
    tried: float


class Host:
    """One host; `heard` is when it was last seen, in monotonic seconds."""

    __slots__ = (
        "_chunk_size",
        "before_tail",
        "connection",
        "crossings",
        "heard",
        "latest",
        "means",
        "pending",
        "rivals",
        "row",
        "stale",
        "tail",
        "tail_since",
    )

    def __init__(self, row: HostRow) -> None:
        self.row = self.before_tail = row
        self.connection: Any = None  # of the agent that is served
        self.crossings = Crossings(row.crossed)
        self.heard = time.monotonic()
        self.stale = False
        self.rivals: dict[str, Rival] = {}  # by their instance or address
        self.latest = row.latest
        self.means = array("H", row.means)  # in tenths of a percent
        self.pending: list[Chunk] = []  # chunks that may not be on disk yet
        self.tail: list[bytes] = []  # packed samples in no chunk yet
        self.tail_since = 0.0  # monotonic seconds
        self._chunk_size = MAX_CHUNK_SAMPLES - row.id % _FIRST_CHUNK_SPREAD

    def is_new(self, number: int) -> bool:
        """Count a sequence number and the gap before it; False for a duplicate."""
        row = self.row
        if number <= row.last:
            self.row = row._replace(duplicates=min(row.duplicates + 1, MAX_COUNT))
            return False
        missing = number - row.last - 1
        self.row = row._replace(missing=min(row.missing + missing, MAX_COUNT)) if missing else row
        return True

    def append(self, sequence: int, packed: bytes) -> None:
        """Append a packed sample, which is written as row `sequence`."""
        taken, number, mean = history_chunk.moment(packed)
        self.row = self.row._replace(last=number, last_seen=taken, samples=min(self.row.samples + 1, MAX_COUNT))
        self.latest = packed
        if not self.tail:
            # Rows of other hosts since the last chunk are not needed for this host.
            self.row = self.row._replace(chunked=sequence - 1)
            self.before_tail = self.before_tail._replace(chunked=sequence - 1)
            self.tail_since = time.monotonic()
        self.tail.append(packed)
        self.means.append(round(mean * 10))
        if len(self.means) > _SHOWN_MEANS:
            del self.means[0]

    def chunk(self, sequence: int, *, force: bool = False) -> Chunk | None:
        """Return the samples up to row `sequence` as a chunk, if they fill one, or if `force`."""
        if not self.tail or (len(self.tail) < self._chunk_size and not force):
            return None
        samples, self.tail, self._chunk_size = self.tail, [], MAX_CHUNK_SAMPLES
        self.row = self.before_tail = self.row._replace(
            ordinal=self.row.ordinal + 1, chunked=sequence, latest=self.latest, means=self.means.tobytes()
        )
        self.pending.append(Chunk(self.row.id, self.row.ordinal, self.row.samples, samples))
        return self.pending[-1]

    def newest(self) -> tuple[int, list[bytes]]:
        """Return the ordinal up to which all chunks are on disk, and the samples after them."""
        pending = [packed for chunk in self.pending for packed in chunk.samples]
        return self.row.ordinal - len(self.pending), pending + self.tail

    def stored_row(self, zero: float) -> HostRow:
        """Return the row to store, as of the last chunk: the tail is counted again when it is loaded.

        `zero` is the monotonic time at which the servers' total running time was 0.
        """
        row, crossed = self.row, ",".join(self.crossings.over)
        return self.before_tail._replace(
            dialect=row.dialect, interval=row.interval, heard=self.heard - zero, crossed=crossed
        )

    @property
    def state(self) -> str:
        """Its state: connected, stale or away."""
        return "away" if self.connection is None else "stale" if self.stale else "connected"

    def _age(self, now: float) -> float:
        """Return the age of the last sample in seconds, also if it has a date in the future."""
        age = now - self.row.last_seen
        return age if age >= 0 else max(time.monotonic() - self.heard, 0)

    def shown(self, now: float) -> dict[str, Any]:
        """Return the JSON object for viewers (`now` in seconds since 1970)."""
        row = self.row
        return {
            "host": row.name,
            "dialect": row.dialect,
            "peer": self.connection.name if self.connection else "",
            "state": self.state,
            "first_seen": _iso(row.first_seen),
            "last_seen": _iso(row.last_seen),
            "age": round(self._age(now), 3),
            "interval": row.interval,
            "samples": row.samples,
            "missing": row.missing,
            "duplicates": row.duplicates,
            "name_conflicts": [rival.name for rival in islice(self.rivals.values(), _SHOWN_RIVALS)],
            "over": self.crossings.over,
            "means": [mean / 10 for mean in self.means],
            "sample": history_chunk.shown(self.latest) if self.latest else None,
        }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
