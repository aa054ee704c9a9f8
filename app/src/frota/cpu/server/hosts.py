"""All hosts by name, and their changes since the last commit."""

import math
import time
from collections.abc import Callable, Iterator

from frota.cpu import history_chunk
from frota.cpu.framing import Hello, SampleMessage
from frota.cpu.server.history import Changes, HostRow
from frota.cpu.server.host import Host

_MAX_TAIL_AGE_S = 900.0  # an older tail becomes a short chunk, or the rows of other hosts would pile up behind it


_MAX_FORMER_RUNS = 16  # of a host, whose last sequence numbers are stored


class Hosts:
    """All hosts by name, and their changes since the last commit.

    `now` returns the time of day in seconds since 1970; a host that was not seen for `forget_seconds` is deleted.
    """

    def __init__(self, now: Callable[[], float] | None = None, forget_seconds: float = math.inf) -> None:
        self.now = now or _time_of_day
        self._forget_seconds = forget_seconds
        self.changes = Changes()
        self._by_name: dict[str, Host] = {}
        self._sequence = self._next_id = 0
        self._zero = time.monotonic()  # see Host.row
        self._touched: dict[str, Host] = {}  # hosts whose row is to be written
        self._chunked: list[Host] = []  # hosts of the chunks to be written; `_writing`: being written
        self._writing: list[Host] = []

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> Host | None:
        """Return a host, None if it is unknown."""
        return self._by_name.get(name)

    def restore(
        self, rows: list[HostRow], recent: list[tuple[int, int, bytes]], sequence: int, highest_id: int = 0
    ) -> None:
        """Restore hosts from their rows, which are as of their last chunk, and the samples after it.

        New hosts get ids above `highest_id`.
        """
        by_id = {row.id: Host(row) for row in rows}
        self._by_name = {host.row.name: host for host in by_id.values()}
        self._next_id, self._sequence = max([*by_id, highest_id]), sequence
        now = time.monotonic()
        latest = _latest([row.heard for row in rows], self._forget_seconds)
        self._zero = now - latest
        for host in by_id.values():
            host.heard = self._zero + min(host.row.heard, latest)
            if host.row.heard > latest:
                self.touch(host)
        for number, identity, packed in recent:
            host = by_id[identity]
            host.heard = now  # or shortly before the last server ended
            host.is_new(history_chunk.moment(packed)[1])
            host.append(number, packed)

    def get_or_create(self, name: str, dialect: str, interval: float) -> Host:
        """Return a host, created if it is unknown."""
        host = self._by_name.get(name)
        if host is None:
            self._next_id += 1
            now = self.now()
            host = Host(HostRow(self._next_id, name, dialect, "", 0, now, now, interval, 0, 0, 0, 0, self._sequence))
            self._by_name[name] = host
        if (host.row.dialect, host.row.interval) != (dialect, interval):
            host.row = host.row._replace(dialect=dialect, interval=interval)
        self._touched[name] = host
        return host

    def greet(self, hello: Hello) -> Host:
        """Return the host of a hello; a new run begins with sequence number 1.

        A former run continues after its last number: agents with the same name may take turns.
        """
        host = self.get_or_create(hello.host, "native", hello.interval)
        if host.row.run != hello.run:
            # The samples of the former run go into a chunk, so that a restart does not count them again.
            self._chunk(host, force=True)
            last, former = _resumed(host.row, hello)
            host.row = host.before_tail = host.row._replace(
                run=hello.run, last=last, chunked=self._sequence, former=former
            )
        return host

    def take(self, host: Host, reading: SampleMessage) -> bytes | None:
        """Add a sample to its host; None for a duplicate."""
        number = reading.number or host.row.last + 1  # legacy samples have none
        if not host.is_new(number):
            return None
        packed = history_chunk.pack(self.now() - reading.age, number, reading.sample)
        self._sequence += 1
        self.changes.recent.append((self._sequence, host.row.id, packed))
        host.append(self._sequence, packed)
        self._chunk(host)
        return packed

    def chunk_old_tails(self, now: float) -> None:
        """Make chunks of tails that are too old (`now` in monotonic seconds)."""
        for host in self._by_name.values():
            if host.tail and now - host.tail_since > _MAX_TAIL_AGE_S:
                self._chunk(host, force=True)

    def _chunk(self, host: Host, *, force: bool = False) -> None:
        if chunk := host.chunk(self._sequence, force=force):
            self.changes.chunks.append(chunk)
            self._chunked.append(host)
            self._touched[host.row.name] = host

    def touch(self, host: Host) -> None:
        """Write the row of a host at the next commit."""
        self._touched[host.row.name] = host

    def forget(self, host: Host) -> None:
        """Delete a host and its history."""
        del self._by_name[host.row.name]
        self._touched.pop(host.row.name, None)
        self.changes.forgotten.append(host.row.id)

    def take_changes(self, max_samples: int) -> Changes:
        """Return the changes since the last call; `max_samples` of a host are stored in chunks."""
        changes, self.changes = self.changes, Changes()
        changes.hosts = [host.stored_row(self._zero) for host in self._touched.values()]
        self._touched.clear()
        changes.max_samples = max_samples
        self._writing, self._chunked = self._chunked, []
        waiting = (host.row.chunked for host in self._by_name.values() if host.tail)
        changes.needed_from = min(waiting, default=self._sequence) + 1
        return changes

    def written(self) -> None:
        """Note that the changes of the last `take_changes` are on disk."""
        for host in self._writing:
            del host.pending[0]
        self._writing = []


def _latest(times: list[float], forget_seconds: float) -> float:
    """Return the latest time that is not damaged.

    While one host was seen, every host in the table was seen within `forget_seconds`: after a larger gap all times are
    damaged, or all before it. Hosts after it count as just seen: better stored too long than deleted.
    """
    ordered = sorted(times)
    latest = ordered[0] if ordered else 0.0
    for time_seen in ordered:
        if time_seen - latest > forget_seconds:
            break
        latest = time_seen
    return latest


def _time_of_day() -> float:
    return time.time()


def _resumed(row: HostRow, hello: Hello) -> tuple[int, str]:
    """Return the last number of the hello's run, and the former runs as `RUN:LAST,…`, oldest first."""
    runs: dict[str, int] = {}
    for part in filter(None, row.former.split(",")):
        run, _, number = part.partition(":")
        runs[run] = int(number)
    runs.pop(row.run, None)
    if row.run:
        runs[row.run] = row.last
    last = max(hello.acked, runs.pop(hello.run, 0))
    return last, ",".join(f"{run}:{number}" for run, number in list(runs.items())[-_MAX_FORMER_RUNS:])
