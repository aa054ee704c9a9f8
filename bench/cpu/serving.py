"""What agents cost the server, from a hundred of them to five thousand; and how soon it tells a day of one host."""

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
DAY = 17_280  # samples: one every five seconds

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
    most, least = COUNTS[-1], COUNTS[0]
    sides[_legacy(most)] = partial(measure, options, most, "legacy", _frota)
    sides[_threads(most)] = partial(measure, options, most, "legacy", _threaded)
    claims = (
        Claim(f"{most:,} native agents: share of a core", "share", _native(most), at_most=0.5),
        Claim(f"{most:,} native agents: MiB", "mib", _native(most), at_most=200, shape=".0f"),
        Claim(f"a sample of {most:,} agents ÷ one of {least}", "sample_us", _native(most), _native(least), at_most=1.2),
        Claim(f"{most:,} legacy agents ÷ threads", "share", _legacy(most), _threads(most)),
    )
    day = {"frota": partial(measure_day, options)}
    told = (Column("ms", "ms", ".1f"), Column("mib", "MiB", ".1f"))
    soon = Claim("24 h of one host: ms", "ms", "frota", at_most=50, shape=".1f")
    return [
        Scenario("agents at 5 s", sides, COLUMNS, claims),
        Scenario("24 h of one host", day, told, (soon,)),
    ]


def measure(
    options: Options, count: int, dialect: str, command: Callable[[Options, int, Path], Sequence[str]]
) -> Figures:
    """Return what so many agents cost, the server on the first CPU. Raises InvalidRunError."""
    with fresh_state(options.folder) as (state, log):
        port = free_port()
        with running(on_cpus(command(options, port, state), cpus()[:1]), port, log) as server:
            seconds = max(4 * options.seconds, 2)
            load = [sys.executable, "-m", "bench.cpu.agents"]
            account = _account([*load, str(port), str(count), str(seconds), dialect, str(server)], seconds)
    used = account["cpu"]
    return {"share": used / seconds, "sample_us": 1e6 * used / account["samples"], "mib": account["memory"] / MEBIBYTE}


def measure_day(options: Options) -> Figures:
    """Return how long it takes until a viewer has a day of one host, as a median. Raises InvalidRunError."""
    with fresh_state(options.folder) as (state, log):
        port = free_port()
        command = [*_frota(options, port, state), "--samples-per-second", "10000"]
        with running(on_cpus(command, cpus()[:1]), port, log), _connected(port) as agent:
            agent.sendall(hello("host", uuid4().hex, 5.0))
            agent.sendall(b"".join(SAMPLE.native(number, 5.0 * (DAY - number)) for number in range(1, DAY + 1)))
            with agent.makefile("rb") as answers:
                while json.loads(answers.readline()).get("ack", 0) < DAY:
                    pass
            looks = sorted(_look(port) for _ in range(9))
    return {"ms": looks[4][0] * 1e3, "mib": looks[4][1] / MEBIBYTE}


def _look(port: int) -> tuple[float, int]:
    """Ask for the day; return how long it took (s) and how much came (bytes). Raises InvalidRunError."""
    with _connected(port) as viewer:
        start, received = time.perf_counter(), bytearray()
        viewer.sendall(b'{"frota": 1, "ask": "history", "host": "host", "seconds": 90000}\n')
        while not received.endswith(b'"end":true}\n'):
            piece = viewer.recv(1 << 20)
            if not piece:
                raise InvalidRunError("the server closed the connection in the middle of an answer")
            received += piece
        took = time.perf_counter() - start
    lines = [json.loads(line) for line in received.splitlines()[:-1]]
    numbers = [number for line in lines for number in line["number"]]
    if numbers != list(range(numbers[0], DAY + 1)) or len(numbers) < DAY - 60:
        raise InvalidRunError(f"the history has {len(numbers)} samples of {DAY}")
    return took, len(received)


@contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        yield connection


def _account(command: Sequence[str], seconds: float) -> dict[str, float]:
    account: dict[str, float] = json.loads(run_pinned(command, seconds)[0])
    if not account["acknowledged"]:
        raise InvalidRunError("not every sample was acknowledged")
    return account


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
