"""The servers that take appends: how each is started, loaded, and asked what it kept."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import CannotRunError
from bench.core.load import Generator, Stats, run_generator
from bench.core.machine import cpus
from bench.list import elements, redis
from bench.list.client import connected

ECHO = Path(__file__).with_name("echo.py")
DEFAULT_LIST = "default"


@dataclass(frozen=True)
class LegacyClients:
    """The same from processes with a pyzmq socket each, as the legacy clients are; they run on all CPUs."""

    clients: int
    seconds: float

    def run(self, port: int, protocol: str) -> Stats:
        """Return the statistics of a run. Raises InvalidRunError if the server violated its contract."""
        words = (port, self.clients, self.seconds, protocol)
        command = [sys.executable, "-m", "bench.list.clients", *map(str, words)]
        return run_generator(command, self.seconds, cpus())


@dataclass(frozen=True)
class Side:
    """`command` takes port and state folder; `complaint` asks a server whether it holds what was acknowledged."""

    command: Callable[[int, Path], list[str]]
    load: Callable[[int], Stats]
    complaint: Callable[[int, Sequence[int]], str | None]
    durable: bool


def serve(program: Path, *flags: str) -> Callable[[int, Path], list[str]]:
    """Return how our own server is started. Raises CannotRunError where there is no such program."""
    if not program.exists():
        raise CannotRunError(f"there is no {program}: run `make venv`, or name one with --frota")

    def command(port: int, state: Path) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port), "--state-dir", str(state)]
        return [str(program), "list", "serve", *where, *flags]

    return command


def frota(program: Path, load: Generator | LegacyClients, protocol: str, durable: bool = True) -> Side:
    """Return our own server, asked in the `legacy` or the `native` protocol."""

    def complaint(port: int, acknowledged: Sequence[int]) -> str | None:
        with connected(port) as client:
            return elements.difference(acknowledged, client.elements(DEFAULT_LIST))

    command = serve(program, "--durable", "yes" if durable else "no")
    return Side(command, lambda port: load.run(port, protocol), complaint, durable)


def redis_side(load: Generator) -> Side:
    """Return Redis, which fsyncs before it answers, under the load of its own benchmark."""
    programs = redis.find()

    def complaint(port: int, acknowledged: Sequence[int]) -> str | None:
        stored = redis.length(port)
        return None if stored == sum(acknowledged) else f"{sum(acknowledged)} were acknowledged, {stored} are stored"

    def benchmark(port: int) -> Stats:
        return redis.benchmark(programs, port, load.connections, load.seconds, load.limit)

    return Side(programs.serve, benchmark, complaint, durable=True)


def echo(load: Generator | LegacyClients) -> Side:
    """Return the bare echo, which keeps nothing."""

    def command(port: int, _state: Path) -> list[str]:
        return [sys.executable, str(ECHO), str(port)]

    return Side(command, lambda port: load.run(port, "echo"), lambda _port, _acknowledged: None, durable=False)
