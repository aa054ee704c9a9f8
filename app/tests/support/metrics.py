"""Support of the tests of the CPU metrics: a server, agents and viewers."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import uvloop

from frota.cpu.messages import PONG, Disk, Memory, Network, Own, Sample, hello
from frota.cpu.server import server as server_module
from frota.cpu.server.history import HostRow
from frota.cpu.settings import ServerSettings
from support import TIMEOUT_S, Server, prometheus

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
STORED_HOST = HostRow(1, "web-1", "native", RUN, 7, 1.0, 2.0, 5.0, 7, 0, 0, 0, 0)
TEXT = "CPU -> Núcleos: [37.3, 31.5, 0.0] | Média: 22.9%".encode()


class MetricsServer(Server):
    """`frota cpu serve` in a process of its own."""

    system = "cpu"

    def agent(
        self, host: str = "web-1", run: str = RUN, interval: float = 5.0, acked: int = 0, instance: str = ""
    ) -> "Agent":
        """Connect as a native agent, and complete the handshake."""
        return Agent(self.connect(), hello(host, run, interval, acked, instance))

    def query(self, **fields: Any) -> list[dict[str, Any]]:
        """Query as a viewer, and return the lines of the response."""
        with self.connect() as connection, connection.makefile("rb") as lines:
            connection.sendall(json.dumps({"frota": 1, **fields}).encode() + b"\n")
            response = []
            for line in lines:
                response.append(json.loads(line))
                if response[-1].get("end"):
                    return response[:-1]
        return response

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Return all hosts by name."""
        return {host["host"]: host for host in self.query(ask="hosts")}

    def numbers(self, host: str) -> list[int]:
        """Return the sequence numbers of a host's stored samples, in their order."""
        return [number for line in self.query(ask="history", host=host, seconds=1e9) for number in line["number"]]

    def metrics(self) -> dict[str, float]:
        """Scrape the metrics as Prometheus does."""
        head, _, body = self.request(b"GET /metrics HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        return prometheus.parse(body.decode())


class Agent:
    """The agent's end of a connection."""

    def __init__(self, connection: socket.socket, greeting: bytes) -> None:
        connection.settimeout(TIMEOUT_S)
        self.connection, self.lines = connection, connection.makefile("rb")
        connection.sendall(greeting)
        self.last: int = json.loads(self.lines.readline())["last"]

    def send(self, *numbers: int, age: float = 0.0, sample: Sample = SAMPLE) -> None:
        """Send samples with these numbers."""
        self.connection.sendall(b"".join(sample.native(number, age) for number in numbers))

    def wait(self, number: int) -> None:
        """Wait until the server has acknowledged a sample."""
        while self.receive().get("ack", 0) < number:
            pass

    def receive(self) -> dict[str, Any]:
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


class InProcessServer:
    """A server in this process, whose clocks and disk a test can change; `ended` has its exit status."""

    def __init__(self, server: server_module.Server, ended: list[int]) -> None:
        self.server, self.ended = server, ended
        host, _, port = server.addresses[0].rpartition(":")
        self.address: tuple[str, int] = host.strip("[]"), int(port)

    async def agent(
        self, host: str = "web-1", run: str = RUN, instance: str = "", interval: float = 5.0
    ) -> "AsyncAgent":
        """Connect as a native agent, and complete the handshake."""
        agent = await self.connect(host, run, instance, interval)
        assert "last" in await agent.receive()
        return agent

    async def connect(
        self, host: str = "web-1", run: str = RUN, instance: str = "", interval: float = 5.0, source: str = "127.0.0.1"
    ) -> "AsyncAgent":
        """Connect from an address of this machine, and send a hello without waiting for the response."""
        reader, writer = await asyncio.open_connection(*self.address, limit=1 << 24, local_addr=(source, 0))
        writer.write(hello(host, run, interval, 0, instance))
        return AsyncAgent(reader, writer)

    async def query(self, **fields: Any) -> list[dict[str, Any]]:
        """Query as a viewer, and return the lines of the response."""
        reader, writer = await asyncio.open_connection(*self.address, limit=1 << 24)
        writer.write(json.dumps({"frota": 1, **fields}).encode() + b"\n")
        response = []
        while "end" not in (line := json.loads(await reader.readline())):
            response.append(line)
        writer.close()
        return response

    async def numbers(self, host: str) -> list[int]:
        """Return the sequence numbers of a host's stored samples, in their order."""
        lines = await self.query(ask="history", host=host, seconds=1e9)
        return [number for line in lines for number in line["number"]]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Poll a condition until it is true."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():  # noqa: ASYNC110 -- the server sends no event to tests
                await asyncio.sleep(0.005)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on the event loop that servers run on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario)


class AsyncAgent(NamedTuple):
    """The agent's end of a connection to a server in this process."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *numbers: int, age: float = 0.0, sample: Sample = SAMPLE) -> None:
        """Send samples, and wait until the server has acknowledged them."""
        self.writer.write(b"".join(sample.native(number, age) for number in numbers))
        while json.loads(await self.reader.readline()).get("ack", 0) < numbers[-1]:
            pass

    async def receive(self) -> dict[str, Any]:
        """Return the next line of the server."""
        line = await self.reader.readline()
        assert line, "the server has closed the connection"
        return dict(json.loads(line))

    async def answer_ping(self) -> None:
        """Wait for a ping, and answer it."""
        while "ping" not in await self.receive():
            pass
        self.writer.write(PONG)

    @property
    def name(self) -> str:
        """Its address, as the server names it."""
        return "{}:{}".format(*self.writer.get_extra_info("sockname"))

    def close(self) -> None:
        """End the connection."""
        self.writer.close()


@asynccontextmanager
async def in_process_server(folder: Path, **changes: Any) -> AsyncIterator[InProcessServer]:
    """Run a server in this process for the time of a block."""
    values = {"port": 0, "metrics_port": 0, "state_dir": folder / "state", "commit_seconds": 0.01, **changes}
    config, ended = ServerSettings(**values), list[int]()
    server = server_module.Server(config, lambda: config, ended.append)
    await server.start()
    try:
        yield InProcessServer(server, ended)
    finally:
        async with asyncio.timeout(TIMEOUT_S):
            await server.stop()


@contextmanager
def metrics_server(folder: Path, *flags: object, **options: Any) -> Iterator[MetricsServer]:
    """Run a server for the time of a block; check that it stops properly even after a failure."""
    server = MetricsServer(folder, "--commit-seconds", 0.05, *flags, **options)
    try:
        yield server
    finally:
        status = server.stop()
    assert status in (0, -signal.SIGKILL), server.log()
