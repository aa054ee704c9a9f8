"""All hosts that are known, by name, and what of them is to be written."""

import math
import time
from collections.abc import Callable, Iterator

from frota.cpu_metrics import chunk
from frota.cpu_metrics.framing import Hello, SampleMessage
from frota.cpu_metrics.server.history import Changes, HostRow
from frota.cpu_metrics.server.host import Host

_OLDEST_TAIL = (
    900.0  # seconds; an older one becomes a chunk too, however short: what is new is not to pile up behind it
)


_MOST_FORMER = 16  # runs of a host whose sequence numbers are kept, the newest


class Hosts:
    """All hosts by name, and what of them is to be written next.

    `now` gives the time of day, in seconds since 1970; a host of which servers heard nothing for `forget_seconds` is
    not kept.
    """

    def __init__(self, now: Callable[[], float] | None = None, forget_seconds: float = math.inf) -> None:
        self.now = now or _time_of_day
        self._forget_seconds = forget_seconds
        self.changes = Changes()
        self._by_name: dict[str, Host] = {}
        self._sequence = self._next_id = 0
        self._zero = time.monotonic()  # see Host.row
        self._touched: dict[str, Host] = {}  # whose row is to be written
        self._chunked: list[Host] = []  # by the chunks that are to be written, and by those that are written now
        self._writing: list[Host] = []

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> Host | None:
        """Return a host that is known."""
        return self._by_name.get(name)

    def restore(
        self, kept: list[HostRow], recent: list[tuple[int, int, bytes]], sequence: int, highest_id: int = 0
    ) -> None:
        """Begin with what was kept: the rows as they were with the last chunk, and what came after it.

        No new host gets an id up to `highest_id`.
        """
        by_id = {one.id: Host(one) for one in kept}
        self._by_name = {host.kept.name: host for host in by_id.values()}
        self._next_id, self._sequence = max([*by_id, highest_id]), sequence
        now = time.monotonic()
        newest = _newest([one.heard for one in kept], self._forget_seconds)
        self._zero = now - newest
        for host in by_id.values():
            host.heard = self._zero + min(host.kept.heard, newest)
            if host.kept.heard > newest:
                self.touch(host)
        for number, identity, packed in recent:
            host = by_id[identity]
            host.heard = now  # or shortly before the last server's end
            host.is_new(chunk.moment(packed)[1])
            host.add(number, packed)

    def known(self, name: str, dialect: str, interval: float) -> Host:
        """Return a host, a new one if need be."""
        host = self._by_name.get(name)
        if host is None:
            self._next_id += 1
            now = self.now()
            host = Host(HostRow(self._next_id, name, dialect, "", 0, now, now, interval, 0, 0, 0, 0, self._sequence))
            self._by_name[name] = host
        if (host.kept.dialect, host.kept.interval) != (dialect, interval):
            host.kept = host.kept._replace(dialect=dialect, interval=interval)
        self._touched[name] = host
        return host

    def greet(self, hello: Hello) -> Host:
        """Return the host that says hello, with sequence numbers from 1 for a new run.

        A run that was there before goes on behind all that came of it: agents of one name may take turns.
        """
        host = self.known(hello.host, "native", hello.interval)
        if host.kept.run != hello.run:
            # What came before is numbered otherwise: in a chunk, it is not counted again after a restart.
            self._chunk(host, all_of_it=True)
            last, former = _resumed(host.kept, hello)
            host.kept = host.before_tail = host.kept._replace(
                run=hello.run, last=last, chunked=self._sequence, former=former
            )
        return host

    def take(self, host: Host, reading: SampleMessage) -> bytes | None:
        """Take a sample in; None for one that is here already."""
        number = reading.number or host.kept.last + 1  # the original's have none
        if not host.is_new(number):
            return None
        packed = chunk.pack(self.now() - reading.age, number, reading.sample)
        self._sequence += 1
        self.changes.recent.append((self._sequence, host.kept.id, packed))
        host.add(self._sequence, packed)
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
            self._chunked.append(host)
            self._touched[host.kept.name] = host

    def touch(self, host: Host) -> None:
        """Have a host written as it is now."""
        self._touched[host.kept.name] = host

    def forget(self, host: Host) -> None:
        """Forget a host and its history."""
        del self._by_name[host.kept.name]
        self._touched.pop(host.kept.name, None)
        self.changes.forgotten.append(host.kept.id)

    def take_changes(self, max_samples: int) -> Changes:
        """Return what is to be written since the last time."""
        changes, self.changes = self.changes, Changes()
        changes.hosts = [host.row(self._zero) for host in self._touched.values()]
        self._touched.clear()
        changes.max_samples = max_samples
        self._writing, self._chunked = self._chunked, []
        waiting = (host.kept.chunked for host in self._by_name.values() if host.tail)
        changes.needed_from = min(waiting, default=self._sequence) + 1
        return changes

    def written(self) -> None:
        """Take note that the changes which were last taken are on disk."""
        for host in self._writing:
            del host.pending[0]
        self._writing = []


def _newest(heard: list[float], forget_seconds: float) -> float:
    """Return the greatest of these that is not damaged.

    While one host was heard of, no other can have been silent for longer than hosts are remembered: behind such a gap,
    all are damaged, or all before it. Hosts then count as just heard of: better remembered too long than forgotten.
    """
    ordered = sorted(heard)
    newest = ordered[0] if ordered else 0.0
    for one in ordered:
        if one - newest > forget_seconds:
            break
        newest = one
    return newest


def _time_of_day() -> float:
    return time.time()


def _resumed(kept: HostRow, hello: Hello) -> tuple[int, str]:
    """Return the last number of the run that says hello, and the runs to remember, as `RUN:LAST,…`, oldest first."""
    runs: dict[str, int] = {}
    for part in filter(None, kept.former.split(",")):
        run, _, number = part.partition(":")
        runs[run] = int(number)
    runs.pop(kept.run, None)
    if kept.run:
        runs[kept.run] = kept.last
    last = max(hello.acked, runs.pop(hello.run, 0))
    return last, ",".join(f"{run}:{number}" for run, number in list(runs.items())[-_MOST_FORMER:])
