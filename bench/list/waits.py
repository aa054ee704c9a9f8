"""How long a client waits for its answers while the server is busy with something big."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import MEBIBYTE
from bench.core.machine import on_load_cpus
from bench.core.options import Options
from bench.core.process import peak_memory
from bench.list.client import Client, connected, granted, native
from bench.list.elements import strings
from bench.list.filled import NO_SNAPSHOT, holding, read_back, serving

BIG, OTHER = "big", "other"
SOON_BYTES = 2**15  # of journal: some hundred appends
PATIENCE_SECONDS = 60.0


@dataclass
class Waits:
    """One client at a small list: it appends, and looks at what it appended."""

    client: Client
    appended: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def collect(self, done: Callable[[], bool], shows: bool) -> None:
        """Go on until `done`. Raises InvalidRunError for a wrong answer, or when it takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (self.seconds and done()):
            if time.monotonic() > deadline:
                raise InvalidRunError(f"what was waited for did not happen within {PATIENCE_SECONDS:.0f} s")
            self._append()
            if shows:
                self._show()

    def figures(self) -> Figures:
        """Return the longest wait, the usual one, and how many there were."""
        ordered = sorted(self.seconds)
        longest, usual = ordered[-1] * 1000, ordered[len(ordered) // 2] * 1000
        return {"longest_ms": longest, "p50_ms": usual, "requests": len(ordered)}

    def _append(self) -> None:
        self.appended.append(str(len(self.appended)))
        answer = granted(self._timed(native("append", list=OTHER, value=self.appended[-1])))
        if answer["length"] != len(self.appended):
            raise InvalidRunError(f"after {len(self.appended)} appends the list's length is {answer['length']}")

    def _show(self) -> None:
        answer = granted(self._timed(native("show", list=OTHER, start=-1)))
        if answer["elements"] != self.appended[-1:]:
            raise InvalidRunError(f"the last element is {self.appended[-1]!r}, shown is {answer['elements']!r}")

    def _timed(self, request: bytes) -> bytes:
        start = time.perf_counter()
        answer = self.client.ask(request)
        self.seconds.append(time.perf_counter() - start)
        return answer


def measure_sort(options: Options, count: int) -> Figures:
    """Return waits at another list while a list of `count` strings is sorted, and how long that took."""
    with (
        holding(options, BIG, count) as (state, log),
        serving(options, state, log, *NO_SNAPSHOT) as (port, server),
        on_load_cpus(),
        connected(port) as client,
        connected(port) as sorter,
    ):
        client.do("info")  # both are connected
        sorter.do("info")
        waits = Waits(client)
        start = time.perf_counter()
        sorter.send(native("sort", list=BIG))
        waits.collect(sorter.is_answered, shows=True)
        granted(sorter.receive())
        seconds = time.perf_counter() - start
        peak = peak_memory(server)
        require_list(client, BIG, sorted(strings(count)))
        require_list(client, OTHER, waits.appended)
    return {**waits.figures(), "sort_ms": seconds * 1000, "peak_mib": peak / MEBIBYTE}


def measure_plain_sort(count: int) -> Figures:
    """Return how long Python's own sort takes, in one call: whoever shares its thread waits until it is done."""
    values = list(strings(count))
    with on_load_cpus():
        start = time.perf_counter()
        values.sort()
        milliseconds = (time.perf_counter() - start) * 1000
    return {"longest_ms": milliseconds, "p50_ms": milliseconds, "requests": 1, "sort_ms": milliseconds}


def measure_compaction(options: Options, count: int, compacts: bool) -> Figures:
    """Return an appending client's waits at a server that keeps `count` elements elsewhere.

    With `compacts`, a whole snapshot is made meanwhile. After SIGKILL the lists must be what was acknowledged.
    """
    with holding(options, BIG, count) as (state, log):
        flags = snapshot_soon(state) if compacts else NO_SNAPSHOT
        with serving(options, state, log, *flags) as (port, server), on_load_cpus(), connected(port) as client:
            before = read_back(client, BIG, count)
            waits = watch_compaction(Waits(client), state, options.seconds, compacts)
            made, peak = len(snapshots(state)), peak_memory(server)
        with serving(options, state, log) as (port, _), connected(port) as client:
            require_list(client, BIG, before)
            require_list(client, OTHER, waits.appended)
    return {**waits.figures(), "snapshots": made, "peak_mib": peak / MEBIBYTE}


def snapshot_soon(state: Path) -> tuple[str, str]:
    """Return the setting with which a snapshot is due after some hundred appends, and not when the server starts."""
    journal = sum(path.stat().st_size for path in state.iterdir())
    return "--snapshot-bytes", str(journal + SOON_BYTES)


def watch_compaction(waits: Waits, state: Path, seconds: float, compacts: bool) -> Waits:
    """Wait for answers for `seconds`, and until a snapshot that was begun in this time is on disk."""
    if begun := [*snapshots(state), *state.glob("*.unfinished")]:
        raise InvalidRunError(f"a snapshot was begun before it could be measured: {begun[0].name}")
    until = time.monotonic() + seconds
    waits.collect(lambda: time.monotonic() > until and bool(snapshots(state)) >= compacts, shows=False)
    return waits


def snapshots(state: Path) -> list[Path]:
    """Return the finished snapshots of a state folder."""
    return list(state.glob("*.snapshot"))


def require_list(client: Client, name: str, elements: list[str]) -> None:
    """Raise InvalidRunError unless a list is what it must be."""
    if list(client.elements(name)) != elements:
        raise InvalidRunError(f"the list {name} is not what was acknowledged")
