"""The cost of 100 to 5,000 agents for the server, and the time to deliver 24 hours of one host."""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import InvalidRunError
from bench.core.load import MEBIBYTE, run_pinned
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import allow_open_files, free_port, fresh_state, on_cpus, running
from bench.cpu.agents import SAMPLE
from frota.cpu.messages import hello

HERE = Path(__file__).parent
COUNTS = (100, 300, 1000, 3000, 5000)
DAY_SAMPLES = 17_280  # one every 5 s
DAY_REQUESTS = 9  # the median of which counts

COLUMNS = (
    Column("share", "a core", ".1%"),
    Column("sample_us", "CPU µs", ",.0f"),
    Column("mib", "MiB", ",.0f"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios."""
    allow_open_files(2 * COUNTS[-1] + 500)
    sides: dict[str, Callable[[], Figures]] = {}
    for count in COUNTS:
        sides[_native(count)] = partial(measure, options, count, "native", _frota)
    highest, lowest = COUNTS[-1], COUNTS[0]
    sides[_legacy(highest)] = partial(measure, options, highest, "legacy", _frota)
    sides[_threads(highest)] = partial(measure, options, highest, "legacy", _threaded)
    claims = (
        Claim(f"{highest:,} native: share of a core", "share", _native(highest), at_most=0.5),
        Claim(f"{highest:,} native: MiB", "mib", _native(highest), at_most=200, format_spec=".0f"),
        Claim(f"CPU per sample: {highest:,} ÷ {lowest}", "sample_us", _native(highest), _native(lowest), at_most=1.2),
        Claim(f"{highest:,} legacy ÷ threads", "share", _legacy(highest), _threads(highest)),
    )
    day = {"frota": partial(measure_day, options)}
    day_columns = (Column("ms", "ms", ".1f"), Column("mib", "MiB", ".1f"))
    day_claim = Claim("24 h of one host: ms", "ms", "frota", at_most=50, format_spec=".1f")
    return [
        Scenario("agents at 5 s", sides, COLUMNS, claims),
        Scenario("24 h of one host", day, day_columns, (day_claim,)),
    ]


def measure(
    options: Options, count: int, protocol: str, command: Callable[[Options, int, Path], Sequence[str]]
) -> Figures:
    """Return the cost of `count` agents for a server on the first CPU. Raises InvalidRunError."""
    with fresh_state(options.folder) as (state, log):
        port = free_port()
        with running(on_cpus(command(options, port, state), cpus()[:1]), port, log) as server:
            seconds = max(4 * options.seconds, 2)
            load = [sys.executable, "-m", "bench.cpu.agents"]
            stats = _run_agents([*load, str(port), str(count), str(seconds), protocol, str(server)], seconds)
    cpu = stats["cpu"]
    return {"share": cpu / seconds, "sample_us": 1e6 * cpu / stats["samples"], "mib": stats["memory"] / MEBIBYTE}


def measure_day(options: Options) -> Figures:
    """Return the time until a viewer has received 24 hours of one host, as a median. Raises InvalidRunError."""
    with fresh_state(options.folder) as (state, log):
        port = free_port()
        command = [*_frota(options, port, state), "--samples-per-second", "10000"]
        with running(on_cpus(command, cpus()[:1]), port, log), _connected(port) as agent:
            agent.sendall(hello("host", uuid4().hex, 5.0))
            samples = (SAMPLE.native(number, 5.0 * (DAY_SAMPLES - number)) for number in range(1, DAY_SAMPLES + 1))
            agent.sendall(b"".join(samples))
            with agent.makefile("rb") as responses:
                while json.loads(responses.readline()).get("ack", 0) < DAY_SAMPLES:
                    pass
            seconds, size = sorted(_request_day(port) for _ in range(DAY_REQUESTS))[DAY_REQUESTS // 2]
    return {"ms": seconds * 1e3, "mib": size / MEBIBYTE}


def _request_day(port: int) -> tuple[float, int]:
    """Request the history; return the time (s) and size (bytes) of the response. Raises InvalidRunError."""
    with _connected(port) as viewer:
        start, received = time.perf_counter(), bytearray()
        viewer.sendall(b'{"frota": 1, "ask": "history", "host": "host", "seconds": 90000}\n')
        while not received.endswith(b'"end":true}\n'):
            data = viewer.recv(1 << 20)
            if not data:
                raise InvalidRunError("the server closed the connection within a response")
            received += data
        seconds = time.perf_counter() - start
    lines = [json.loads(line) for line in received.splitlines()[:-1]]
    numbers = [number for line in lines for number in line["number"]]
    if numbers != list(range(numbers[0], DAY_SAMPLES + 1)) or len(numbers) < DAY_SAMPLES - 60:
        raise InvalidRunError(f"the history has {len(numbers)} samples of {DAY_SAMPLES}")
    return seconds, len(received)


@contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        yield connection


def _run_agents(command: Sequence[str], seconds: float) -> dict[str, float]:
    stats: dict[str, float] = json.loads(run_pinned(command, seconds)[0])
    if not stats["acknowledged"]:
        raise InvalidRunError("the server did not acknowledge every sample")
    return stats


def _frota(options: Options, port: int, state: Path) -> Sequence[str]:
    return [str(options.frota), "cpu", "serve", "--port", str(port), "--state-dir", str(state)]


def _threaded(_options: Options, port: int, _state: Path) -> Sequence[str]:
    return [sys.executable, str(HERE / "legacy_server.py"), str(port)]


def _native(count: int) -> str:
    return f"{count:,} native"


def _legacy(count: int) -> str:
    return f"{count:,} legacy"


def _threads(count: int) -> str:
    return f"{count:,} legacy, threads"
