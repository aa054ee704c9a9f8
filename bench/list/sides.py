"""The servers to compare: how to start each, send it load, and check its list."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.load import Generator, Stats, run_generator
from bench.core.machine import cpus
from bench.core.process import require_frota
from bench.list import elements, redis
from bench.list.client import connected

ECHO = Path(__file__).with_name("echo.py")
DEFAULT_LIST = "default"


@dataclass(frozen=True)
class LegacyClients:
    """The load of clients.py: like the legacy clients, processes with one pyzmq socket each, on all CPUs."""

    clients: int
    seconds: float

    def run(self, port: int, protocol: str) -> Stats:
        """Return the statistics of a run. Raises InvalidRunError if the server violated its contract."""
        arguments = (port, self.clients, self.seconds, protocol)
        command = [sys.executable, "-m", "bench.list.clients", *map(str, arguments)]
        return run_generator(command, self.seconds, cpus())


@dataclass(frozen=True)
class Side:
    """`command` starts a server on a port with a state folder; `find_error` compares its list with the acknowledged."""

    command: Callable[[int, Path], list[str]]
    load: Callable[[int], Stats]
    find_error: Callable[[int, Sequence[int]], str | None]
    durable: bool


def serve(program: Path, *flags: str) -> Callable[[int, Path], list[str]]:
    """Return the command of the server of frota. Raises CannotRunError if `program` does not exist."""
    require_frota(program)

    def command(port: int, state: Path) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(port), "--state-dir", str(state)]
        return [str(program), "list", "serve", *address, *flags]

    return command


def frota(program: Path, load: Generator | LegacyClients, protocol: str, durable: bool = True) -> Side:
    """Return the server of frota, under load in the `legacy` or the `native` protocol."""

    def find_error(port: int, acknowledged: Sequence[int]) -> str | None:
        with connected(port) as client:
            return elements.difference(acknowledged, client.elements(DEFAULT_LIST))

    command = serve(program, "--durable", "yes" if durable else "no")
    return Side(command, lambda port: load.run(port, protocol), find_error, durable)


def redis_side(load: Generator) -> Side:
    """Return Redis, which fsyncs before it responds, under the load of its own benchmark."""
    programs = redis.find()

    def find_error(port: int, acknowledged: Sequence[int]) -> str | None:
        stored = redis.length(port)
        return (
            None
            if stored == sum(acknowledged)
            else f"of {sum(acknowledged)} acknowledged elements, the list contains {stored}"
        )

    def benchmark(port: int) -> Stats:
        return redis.benchmark(programs, port, load.connections, load.seconds, load.limit)

    return Side(programs.serve, benchmark, find_error, durable=True)


def echo(load: Generator | LegacyClients) -> Side:
    """Return the echo server, which stores nothing."""

    def command(port: int, _state: Path) -> list[str]:
        return [sys.executable, str(ECHO), str(port)]

    return Side(command, lambda port: load.run(port, "echo"), lambda _port, _acknowledged: None, durable=False)
