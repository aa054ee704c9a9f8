"""How long a long list takes to be shown: asked of a server, and printed by plain Python."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import MEBIBYTE
from bench.core.machine import on_load_cpus
from bench.core.options import Options
from bench.core.process import peak_memory
from bench.list.client import Client, connected, native
from bench.list.elements import strings
from bench.list.filled import holding, read_back, serving
from bench.list.sides import DEFAULT_LIST

LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Dialect:
    """How a list is asked for, and whether an answer shows it."""

    request: bytes
    shows: Callable[[bytes, Sequence[str]], bool]


LEGACY = Dialect(b"mostrar", lambda answer, values: answer == repr(list(values)).encode())
NATIVE = Dialect(native("show"), lambda answer, values: json.loads(answer)["elements"] == values)


def measure_show(options: Options, dialect: Dialect, count: int) -> Figures:
    """Return milliseconds from request to whole answer, of the first after a change and of the same one repeated.

    Raises InvalidRunError where an answer does not show the list.
    """
    with (
        holding(options, DEFAULT_LIST, count) as (state, log),
        serving(options, state, log) as (port, server),
        on_load_cpus(),
        connected(port) as client,
    ):
        values = read_back(client, DEFAULT_LIST, count)

        def show() -> float:
            return timed_show(client, dialect, values)

        def change(value: str) -> None:
            values.append(value)
            client.do("append", value=value)

        figures = repeat(change, show, options.seconds)
        peak = peak_memory(server)
    return {**figures, "peak_mib": peak / MEBIBYTE}


def timed_show(client: Client, dialect: Dialect, values: Sequence[str]) -> float:
    """Return the seconds that one answer took. Raises InvalidRunError where it does not show the list."""
    start = time.perf_counter()
    answer = client.ask(dialect.request)
    seconds = time.perf_counter() - start
    if not dialect.shows(answer, values):
        raise InvalidRunError(f"an answer of {len(answer)} bytes does not show the list: {answer[:100]!r}")
    return seconds


def measure_repr(options: Options, count: int) -> Figures:
    """Return the same figures of Python's own `repr`, encoded, in this process."""
    values = list(strings(count))

    def show() -> float:
        start = time.perf_counter()
        repr(values).encode()
        return time.perf_counter() - start

    with on_load_cpus():
        return repeat(values.append, show, options.seconds)


def repeat(change: Callable[[str], None], show: Callable[[], float], seconds: float) -> Figures:
    """Change and show twice, for `seconds` and a few times at least."""
    first: list[float] = []
    again: list[float] = []
    until = time.monotonic() + seconds
    while len(first) < LEAST_ROUNDS or time.monotonic() < until:
        change(f"change {len(first)}")
        first.append(show() * 1000)
        again.append(show() * 1000)
    return {"first_ms": median(first), "longest_ms": max(first), "again_ms": median(again), "rounds": len(first)}
