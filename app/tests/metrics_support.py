"""What tests of the metrics need: a server in a process of its own, agents and viewers."""

import json
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from frota.cpu_metrics.messages import Disk, Memory, Network, Own, Sample, hello
from support import PATIENCE, Server

RUN = "ab" * 16
SAMPLE = Sample(
    (37.3, 31.5, 0.0),
    22.9,
    (0.11, 0.2, 0.3),
    Memory(8 << 30, 3 << 30, 5 << 30),
    Disk(100 << 30, 5 << 30, 1234.0, 99.0),
    Network(1e6, 2e6, 0.25, 0.0),
    Own(12.345, 14 << 20),
)
TEXT = "CPU -> Núcleos: [37.3, 31.5, 0.0] | Média: 22.9%".encode()


class MetricsServer(Server):
    """`frota cpu serve` in a process of its own."""

    system = "cpu"

    def agent(self, host: str = "web-1", run: str = RUN, interval: float = 5.0, acked: int = 0) -> "Agent":
        """Connect as a native agent, and say hello."""
        return Agent(self.connect(), hello(host, run, interval, acked))

    def told(self, **question: Any) -> list[dict[str, Any]]:
        """Ask as a viewer, and return the lines up to the end."""
        with self.connect() as connection, connection.makefile("rb") as lines:
            connection.sendall(json.dumps({"frota": 1, **question}).encode() + b"\n")
            found = []
            for line in lines:
                found.append(json.loads(line))
                if found[-1].get("end"):
                    return found[:-1]
        return found

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Return all hosts by name."""
        return {one["host"]: one for one in self.told(ask="hosts")}

    def numbers(self, host: str) -> list[int]:
        """Return the numbers of the samples that are kept of a host, in their order."""
        return [number for line in self.told(ask="history", host=host, seconds=1e9) for number in line["number"]]

    def metrics(self) -> dict[str, float]:
        """Collect as Prometheus does."""
        head, _, body = self.ask(b"GET /metrics HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        lines = [line for line in body.decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


class Agent:
    """A native agent's side of a connection."""

    def __init__(self, connection: socket.socket, greeting: bytes) -> None:
        connection.settimeout(PATIENCE)
        self.connection, self.lines = connection, connection.makefile("rb")
        connection.sendall(greeting)
        self.last: int = json.loads(self.lines.readline())["last"]

    def send(self, *numbers: int, age: float = 0.0, sample: Sample = SAMPLE) -> None:
        """Send samples with these numbers."""
        self.connection.sendall(b"".join(sample.native(number, age) for number in numbers))

    def wait(self, number: int) -> None:
        """Wait until the server has a sample on its disk."""
        while self.answer().get("ack", 0) < number:
            pass

    def answer(self) -> dict[str, Any]:
        """Return the next line; fails at the end of the connection."""
        line = self.lines.readline()
        assert line, "the server has closed the connection"
        return dict(json.loads(line))

    def close(self) -> None:
        """End the connection."""
        self.lines.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(look: Callable[[], Any], what: str) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, what
        select.select([], [], [], 0.02)
    return found


@contextmanager
def metrics(folder: Path, *flags: object) -> Iterator[MetricsServer]:
    """Run a server for the time of a block; whatever happened, it must still be able to end properly."""
    one = MetricsServer(folder, "--commit-seconds", 0.05, *flags)
    try:
        yield one
    finally:
        status = one.stop()
    assert status in (0, -signal.SIGKILL), one.log()
