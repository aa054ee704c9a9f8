"""The time to show a long list: by a server, and by plain Python."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import MEBIBYTE
from bench.core.machine import on_load_cpu
from bench.core.options import Options
from bench.core.process import peak_memory
from bench.list.client import Client, connected, native_request
from bench.list.elements import strings
from bench.list.filled import filled_state, read_list, serving
from bench.list.sides import DEFAULT_LIST

MIN_ROUNDS = 5


@dataclass(frozen=True)
class Protocol:
    """The request that shows a list, and the check of its response."""

    request: bytes
    is_expected: Callable[[bytes, Sequence[str]], bool]


LEGACY = Protocol(b"mostrar", lambda response, values: response == repr(list(values)).encode())
NATIVE = Protocol(native_request("show"), lambda response, values: json.loads(response)["elements"] == values)


def measure_show(options: Options, protocol: Protocol, count: int) -> Figures:
    """Return the time (ms) from a request to its whole response, after a change and without one.

    Raises InvalidRunError if a response does not show the list.
    """
    with (
        filled_state(options, DEFAULT_LIST, count) as (state, log),
        serving(options, state, log) as (port, server),
        on_load_cpu(),
        connected(port) as client,
    ):
        values = read_list(client, DEFAULT_LIST, count)

        def show() -> float:
            return timed_show(client, protocol, values)

        def change(value: str) -> None:
            values.append(value)
            client.call("append", value=value)

        figures = repeat(change, show, options.seconds)
        peak = peak_memory(server)
    return {**figures, "peak_mib": peak / MEBIBYTE}


def timed_show(client: Client, protocol: Protocol, values: Sequence[str]) -> float:
    """Return the time of one response (s). Raises InvalidRunError if it does not show the list."""
    start = time.perf_counter()
    response = client.request(protocol.request)
    seconds = time.perf_counter() - start
    if not protocol.is_expected(response, values):
        raise InvalidRunError(f"a response of {len(response)} bytes does not show the list: {response[:100]!r}")
    return seconds


def measure_repr(options: Options, count: int) -> Figures:
    """Return the same figures for Python's `repr`, encoded, in this process."""
    values = list(strings(count))

    def show() -> float:
        start = time.perf_counter()
        repr(values).encode()
        return time.perf_counter() - start

    with on_load_cpu():
        return repeat(values.append, show, options.seconds)


def repeat(change: Callable[[str], None], show: Callable[[], float], seconds: float) -> Figures:
    """Change the list and show it twice, for `seconds` and at least MIN_ROUNDS times."""
    first: list[float] = []
    again: list[float] = []
    end = time.monotonic() + seconds
    while len(first) < MIN_ROUNDS or time.monotonic() < end:
        change(f"change {len(first)}")
        first.append(show() * 1000)
        again.append(show() * 1000)
    return {"first_ms": median(first), "longest_ms": max(first), "again_ms": median(again), "rounds": len(first)}
