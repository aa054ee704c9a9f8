"""One host that is known: what came from it, what is missing, and what of it is in no chunk yet."""

import time
from array import array
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from frota.cpu_metrics import chunk
from frota.cpu_metrics.server.history import MAX_CHUNK_SAMPLES, Chunk, HostRow
from frota.cpu_metrics.thresholds import Crossings

MOST = 2**53  # of any counter: what JSON holds exactly, and far below what SQLite can
_RIVALS = 10  # that are shown
_MEANS = 60  # that are shown as a line
_SPREAD = 30  # first chunks are up to so many samples shorter, so that not all hosts' end at once


class Rival(NamedTuple):
    """An agent of a host's name that is not served: its address, and when it last tried (monotonic seconds)."""

    name: str
    tried: float


class Host:
    """One host; `heard` is when it was last heard of, in monotonic seconds."""

    __slots__ = (
        "_room",
        "before_tail",
        "connection",
        "crossings",
        "heard",
        "kept",
        "latest",
        "means",
        "pending",
        "rivals",
        "stale",
        "tail",
        "tail_since",
    )

    def __init__(self, kept: HostRow) -> None:
        self.kept = self.before_tail = kept
        self.connection: Any = None  # where its samples come from now
        self.crossings = Crossings(kept.crossed)
        self.heard = time.monotonic()
        self.stale = False
        self.rivals: dict[str, Rival] = {}  # other agents of its name, by their instance or address
        self.latest = kept.latest
        self.means = array("H", kept.means)  # in tenths of a percent
        self.pending: list[Chunk] = []  # that are not on disk yet, or not for sure
        self.tail: list[bytes] = []  # packed samples that are in no chunk yet
        self.tail_since = 0.0  # monotonic seconds
        self._room = MAX_CHUNK_SAMPLES - kept.id % _SPREAD

    def is_new(self, number: int) -> bool:
        """Count a numbered sample; False for one that is here already."""
        kept = self.kept
        if number <= kept.last:
            self.kept = kept._replace(duplicates=min(kept.duplicates + 1, MOST))
            return False
        missing = number - kept.last - 1
        self.kept = kept._replace(missing=min(kept.missing + missing, MOST)) if missing else kept
        return True

    def add(self, sequence: int, packed: bytes) -> None:
        """Take a packed sample in, which is written with this sequence number."""
        taken, number, mean = chunk.moment(packed)
        self.kept = self.kept._replace(last=number, last_seen=taken, samples=min(self.kept.samples + 1, MOST))
        self.latest = packed
        if not self.tail:
            # What others sent while nothing came from here need not be kept for this host's sake.
            self.kept = self.kept._replace(chunked=sequence - 1)
            self.before_tail = self.before_tail._replace(chunked=sequence - 1)
            self.tail_since = time.monotonic()
        self.tail.append(packed)
        self.means.append(round(mean * 10))
        if len(self.means) > _MEANS:
            del self.means[0]

    def chunk(self, sequence: int, *, all_of_it: bool = False) -> Chunk | None:
        """Return the samples up to this sequence number as a chunk, if they are enough for one."""
        if not self.tail or (len(self.tail) < self._room and not all_of_it):
            return None
        samples, self.tail, self._room = self.tail, [], MAX_CHUNK_SAMPLES
        self.kept = self.before_tail = self.kept._replace(
            ordinal=self.kept.ordinal + 1, chunked=sequence, latest=self.latest, means=self.means.tobytes()
        )
        self.pending.append(Chunk(self.kept.id, self.kept.ordinal, self.kept.samples, samples))
        return self.pending[-1]

    def newest(self) -> tuple[int, list[bytes]]:
        """Return the ordinal up to which all chunks are on disk, and the samples behind them."""
        behind = [packed for chunk in self.pending for packed in chunk.samples]
        return self.kept.ordinal - len(self.pending), behind + self.tail

    def row(self, zero: float) -> HostRow:
        """Return what is kept: what its tail adds is counted again from the samples themselves.

        `zero` is when, in monotonic seconds, servers would have begun to run if they had never stopped.
        """
        kept, crossed = self.kept, ",".join(self.crossings.over)
        return self.before_tail._replace(
            dialect=kept.dialect, interval=kept.interval, heard=self.heard - zero, crossed=crossed
        )

    @property
    def state(self) -> str:
        """What it is now: connected, stale or away."""
        return "away" if self.connection is None else "stale" if self.stale else "connected"

    def _age(self, now: float) -> float:
        """Return how many seconds ago the last sample was taken, also where a clock was ahead at the time."""
        age = now - self.kept.last_seen
        return age if age >= 0 else max(time.monotonic() - self.heard, 0)

    def shown(self, now: float) -> dict[str, Any]:
        """Return what viewers get (`now` in seconds since 1970)."""
        kept = self.kept
        return {
            "host": kept.name,
            "dialect": kept.dialect,
            "peer": self.connection.name if self.connection else "",
            "state": self.state,
            "first_seen": _iso(kept.first_seen),
            "last_seen": _iso(kept.last_seen),
            "age": round(self._age(now), 3),
            "interval": kept.interval,
            "samples": kept.samples,
            "missing": kept.missing,
            "duplicates": kept.duplicates,
            "name_conflicts": [rival.name for rival in islice(self.rivals.values(), _RIVALS)],
            "over": self.crossings.over,
            "means": [mean / 10 for mean in self.means],
            "sample": chunk.shown(self.latest) if self.latest else None,
        }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
