"""The hosts that are known: what came from each, what is missing, and what of it is to be written."""

import time
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from frota.cpu_metrics import records
from frota.cpu_metrics.framing import Hello, Reading
from frota.cpu_metrics.history import Changes, Chunk, Kept
from frota.cpu_metrics.thresholds import Crossings

MOST = 2**53  # of any counter: what JSON holds exactly, and far below what SQLite can
CHUNK = 60  # samples of a chunk: five minutes at 5 s
_MEANS = 60  # that are shown as a line
_OLDEST_TAIL = (
    900.0  # seconds; an older one becomes a chunk too, however short: what is new is not to pile up behind it
)
_SPREAD = 30  # first chunks are up to so many samples shorter, so that not all hosts' end at once


class Host:
    """One host; `heard` is when its last sample came, in monotonic seconds, 0 for never since the server's start."""

    __slots__ = (
        "_room",
        "before_tail",
        "connection",
        "crossings",
        "heard",
        "kept",
        "latest",
        "means",
        "stale",
        "tail",
        "tail_since",
    )

    def __init__(self, kept: Kept) -> None:
        self.kept = self.before_tail = kept
        self.connection: Any = None  # where its samples come from now
        self.crossings = Crossings()
        self.heard = 0.0
        self.stale = False
        self.latest = b""
        self.means = array("H")  # in tenths of a percent
        self.tail: list[bytes] = []  # packed samples that are in no chunk yet
        self.tail_since = 0.0  # monotonic seconds
        self._room = CHUNK - kept.id % _SPREAD

    def is_new(self, number: int) -> bool:
        """Count a numbered sample; False for one that is here already."""
        kept = self.kept
        if number <= kept.last:
            self.kept = kept._replace(duplicates=min(kept.duplicates + 1, MOST))
            return False
        missing = number - kept.last - 1
        self.kept = kept._replace(missing=min(kept.missing + missing, MOST)) if missing else kept
        return True

    def add(self, packed: bytes) -> None:
        """Take a packed sample in."""
        taken, number, mean = records.moment(packed)
        self.kept = self.kept._replace(last=number, last_seen=taken, samples=min(self.kept.samples + 1, MOST))
        self.latest = packed
        if not self.tail:
            self.tail_since = time.monotonic()
        self.tail.append(packed)
        self.means.append(round(mean * 10))
        if len(self.means) > _MEANS:
            del self.means[0]

    def chunk(self, sequence: int, *, all_of_it: bool = False) -> Chunk | None:
        """Return the samples up to this sequence number as a chunk, if they are enough for one."""
        if not self.tail or (len(self.tail) < self._room and not all_of_it):
            return None
        samples, self.tail, self._room = self.tail, [], CHUNK
        self.kept = self.before_tail = self.kept._replace(ordinal=self.kept.ordinal + 1, chunked=sequence)
        return Chunk(self.kept.id, self.kept.ordinal, self.kept.last_seen, samples)

    def row(self) -> Kept:
        """Return what is kept: what its tail adds is counted again from the samples themselves."""
        return self.before_tail._replace(dialect=self.kept.dialect, interval=self.kept.interval)

    @property
    def state(self) -> str:
        """What it is now: connected, stale or away."""
        return "away" if self.connection is None else "stale" if self.stale else "connected"

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
            "age": round(max(now - kept.last_seen, 0), 3),
            "interval": kept.interval,
            "samples": kept.samples,
            "missing": kept.missing,
            "duplicates": kept.duplicates,
            "over": self.crossings.over,
            "means": [mean / 10 for mean in self.means],
            "sample": records.shown(self.latest) if self.latest else None,
        }


class Hosts:
    """All hosts by name, and what of them is to be written next."""

    def __init__(self) -> None:
        self.changes = Changes()
        self._by_name: dict[str, Host] = {}
        self._sequence = self._next_id = 0
        self._touched: dict[str, Host] = {}  # whose row is to be written

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> Host | None:
        """Return a host that is known."""
        return self._by_name.get(name)

    def restore(self, kept: list[Kept], recent: list[tuple[int, int, bytes]], sequence: int) -> None:
        """Begin with what was kept: the rows as they were with the last chunk, and what came after it."""
        by_id = {one.id: Host(one) for one in kept}
        self._by_name = {host.kept.name: host for host in by_id.values()}
        self._next_id, self._sequence = max(by_id, default=0), sequence
        for _, identity, packed in recent:
            host = by_id[identity]
            host.is_new(records.moment(packed)[1])
            host.add(packed)

    def known(self, name: str, dialect: str, interval: float) -> Host:
        """Return a host, a new one if need be."""
        host = self._by_name.get(name)
        if host is None:
            self._next_id += 1
            now = time.time()
            host = Host(Kept(self._next_id, name, dialect, "", 0, now, now, interval, 0, 0, 0, 0, 0))
            self._by_name[name] = host
        if (host.kept.dialect, host.kept.interval) != (dialect, interval):
            host.kept = host.kept._replace(dialect=dialect, interval=interval)
        self._touched[name] = host
        return host

    def greet(self, hello: Hello) -> Host:
        """Return the host that says hello, its numbers beginning anew if its run does."""
        host = self.known(hello.host, "native", hello.interval)
        if host.kept.run != hello.run:
            # What came before is numbered otherwise: in a chunk, it is not counted again after a restart.
            self._chunk(host, all_of_it=True)
            host.kept = host.before_tail = host.kept._replace(run=hello.run, last=hello.acked, chunked=self._sequence)
        return host

    def take(self, host: Host, reading: Reading) -> bytes | None:
        """Take a sample in; None for one that is here already."""
        number = reading.number or host.kept.last + 1  # the original's have none
        if not host.is_new(number):
            return None
        packed = records.pack(time.time() - reading.age, number, reading.sample)
        self._sequence += 1
        self.changes.recent.append((self._sequence, host.kept.id, packed))
        host.add(packed)
        self._chunk(host)
        return packed

    def settle(self, now: float) -> None:
        """Put into chunks what has waited for more for too long (`now` in monotonic seconds)."""
        for host in self._by_name.values():
            if host.tail and now - host.tail_since > _OLDEST_TAIL:
                self._chunk(host, all_of_it=True)

    def _chunk(self, host: Host, *, all_of_it: bool = False) -> None:
        if chunk := host.chunk(self._sequence, all_of_it=all_of_it):
            self.changes.chunks.append(chunk)
            self._touched[host.kept.name] = host

    def forget(self, host: Host) -> None:
        """Forget a host and its history."""
        del self._by_name[host.kept.name]
        self._touched.pop(host.kept.name, None)
        self.changes.forgotten.append(host.kept.id)

    def take_changes(self, most_samples: int) -> Changes:
        """Return what is to be written since the last time."""
        changes, self.changes = self.changes, Changes()
        changes.hosts = [host.row() for host in self._touched.values()]
        self._touched.clear()
        changes.most_chunks = most_samples // CHUNK + 1
        waiting = (host.kept.chunked for host in self._by_name.values() if host.tail)
        changes.needed_from = min(waiting, default=self._sequence) + 1
        return changes


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
