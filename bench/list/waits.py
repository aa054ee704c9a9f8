"""The time that a client waits for responses while the server sorts a long list or writes a snapshot."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import MEBIBYTE
from bench.core.machine import on_load_cpu
from bench.core.options import Options
from bench.core.process import peak_memory
from bench.list.client import Client, connected, native_request, parse_success
from bench.list.elements import strings
from bench.list.filled import NO_SNAPSHOT, filled_state, read_list, serving

LONG_LIST, SHORT_LIST = "big", "other"
MARGIN_BYTES = 2**15  # of write-ahead log: some hundred appends
TIMEOUT_S = 60.0


@dataclass
class Waits:
    """The waits of one client, which appends to a short list and shows what it appended."""

    client: Client
    appended: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def collect(self, finished: Callable[[], bool], show: bool) -> None:
        """Send requests until `finished`. Raises InvalidRunError for a wrong response, or after TIMEOUT_S."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (self.seconds and finished()):
            if time.monotonic() > deadline:
                raise InvalidRunError(f"the server did not finish within {TIMEOUT_S:.0f} s")
            self._append()
            if show:
                self._show()

    def figures(self) -> Figures:
        """Return the longest wait and the median (ms), and the number of requests."""
        ordered = sorted(self.seconds)
        longest, middle = ordered[-1] * 1000, ordered[len(ordered) // 2] * 1000
        return {"longest_ms": longest, "p50_ms": middle, "requests": len(ordered)}

    def _append(self) -> None:
        self.appended.append(str(len(self.appended)))
        response = parse_success(self._timed(native_request("append", list=SHORT_LIST, value=self.appended[-1])))
        if response["length"] != len(self.appended):
            raise InvalidRunError(f"after {len(self.appended)} appends the list's length is {response['length']}")

    def _show(self) -> None:
        response = parse_success(self._timed(native_request("show", list=SHORT_LIST, start=-1)))
        if response["elements"] != self.appended[-1:]:
            raise InvalidRunError(f"the server shows {response['elements']!r} after {self.appended[-1]!r} was appended")

    def _timed(self, request: bytes) -> bytes:
        start = time.perf_counter()
        response = self.client.request(request)
        self.seconds.append(time.perf_counter() - start)
        return response


def measure_sort(options: Options, count: int) -> Figures:
    """Return the waits at a short list while the server sorts `count` strings, and the time of the sort."""
    with (
        filled_state(options, LONG_LIST, count) as (state, log),
        serving(options, state, log, *NO_SNAPSHOT) as (port, server),
        on_load_cpu(),
        connected(port) as client,
        connected(port) as sorter,
    ):
        client.call("info")  # waits for the connection
        sorter.call("info")
        waits = Waits(client)
        start = time.perf_counter()
        sorter.send(native_request("sort", list=LONG_LIST))
        waits.collect(sorter.has_response, show=True)
        parse_success(sorter.receive())
        seconds = time.perf_counter() - start
        peak = peak_memory(server)
        require_list(client, LONG_LIST, sorted(strings(count)))
        require_list(client, SHORT_LIST, waits.appended)
    return {**waits.figures(), "sort_ms": seconds * 1000, "peak_mib": peak / MEBIBYTE}


def measure_plain_sort(count: int) -> Figures:
    """Return the time of Python's own sort: in one call, so that all clients of its thread would wait for it."""
    values = list(strings(count))
    with on_load_cpu():
        start = time.perf_counter()
        values.sort()
        milliseconds = (time.perf_counter() - start) * 1000
    return {"longest_ms": milliseconds, "p50_ms": milliseconds, "requests": 1, "sort_ms": milliseconds}


def measure_snapshot(options: Options, count: int, with_snapshot: bool) -> Figures:
    """Return the waits of a client that appends to a short list, at a server with a list of `count` elements.

    With `with_snapshot` the server writes a snapshot meanwhile. After SIGKILL, it must recover both lists completely.
    """
    with filled_state(options, LONG_LIST, count) as (state, log):
        flags = snapshot_soon(state) if with_snapshot else NO_SNAPSHOT
        with serving(options, state, log, *flags) as (port, server), on_load_cpu(), connected(port) as client:
            before = read_list(client, LONG_LIST, count)
            waits = wait_for_snapshot(Waits(client), state, options.seconds, with_snapshot)
            snapshot_count, peak = len(snapshots(state)), peak_memory(server)
        with serving(options, state, log) as (port, _), connected(port) as client:
            require_list(client, LONG_LIST, before)
            require_list(client, SHORT_LIST, waits.appended)
    return {**waits.figures(), "snapshots": snapshot_count, "peak_mib": peak / MEBIBYTE}


def snapshot_soon(state: Path) -> tuple[str, str]:
    """Return the option with which a snapshot is due after some hundred appends, but not at the start."""
    log_bytes = sum(path.stat().st_size for path in state.iterdir())
    return "--snapshot-bytes", str(log_bytes + MARGIN_BYTES)


def wait_for_snapshot(waits: Waits, state: Path, seconds: float, with_snapshot: bool) -> Waits:
    """Collect waits for `seconds`, and until a snapshot that began in this time is on disk."""
    if early := [*snapshots(state), *state.glob("*.unfinished")]:
        raise InvalidRunError(f"a snapshot began before the measurement: {early[0].name}")
    end = time.monotonic() + seconds
    waits.collect(lambda: time.monotonic() > end and bool(snapshots(state)) >= with_snapshot, show=False)
    return waits


def snapshots(state: Path) -> list[Path]:
    """Return the finished snapshots of a state folder."""
    return list(state.glob("*.snapshot"))


def require_list(client: Client, name: str, elements: list[str]) -> None:
    """Raise InvalidRunError unless a list has exactly these elements."""
    if list(client.elements(name)) != elements:
        raise InvalidRunError(f"the list {name} differs from the acknowledged elements")
