"""The TCP server with a small protocol of its own, over real sockets."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from frota.net import tcp_server
from frota.net.listen import sockets_at
from frota.net.tcp_server import Limits, State, TcpConnection, TcpServer, Watermarks
from support import TIMEOUT_S

FULL = b"full\n"
LIMITS = Limits(max_connections=10, max_rejected=2)


class Echo:
    """A handler: answers what it receives, and records what the server calls."""

    client: socket.socket  # of `fill`

    def __init__(self, tcp: TcpConnection) -> None:
        self.tcp = tcp
        self.calls: list[str] = []
        self.timeout: float | None = 3600.0
        self.answer: Callable[[bytes], bytes] = lambda data: data

    def data_received(self, data: bytes) -> None:
        self.calls.append(data.decode())
        self.tcp.write(self.answer(data))

    def eof_received(self) -> None:
        self.calls.append("eof")
        self.tcp.close()

    def connection_lost(self) -> None:
        self.calls.append("lost")

    def idle_timeout(self) -> float | None:
        return self.timeout

    def check(self, now: float) -> None:
        assert now >= self.tcp.opened_at

    def drain(self) -> None:
        self.tcp.write(b"bye")
        self.tcp.close()


class Running:
    """A server of echoes: its handlers and the events that its observer was told."""

    port: int

    def __init__(self, limits: Limits) -> None:
        self.handlers: list[Echo] = []
        self.events: list[Any] = []
        self.tcp = TcpServer(limits, self, FULL, self.handler)

    def handler(self, tcp: TcpConnection) -> Echo:
        self.handlers.append(Echo(tcp))
        return self.handlers[-1]

    def connected(self, _: TcpConnection, count: int) -> None:
        self.events.append(("connected", count))

    def disconnected(self, _: TcpConnection) -> None:
        self.events.append("disconnected")

    def rejected(self, _: TcpConnection, max_connections: int) -> None:
        self.events.append(("rejected", max_connections))

    def aborted(self, _: TcpConnection, reason: str) -> None:
        self.events.append(reason)

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect a client, and return when the server has accepted or rejected it."""
        count = len(self.events)
        streams = await asyncio.open_connection("127.0.0.1", self.port, **options)
        await self.until(lambda: len(self.events) > count)
        return streams

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():  # noqa: ASYNC110 -- the server knows nothing of tests
                await asyncio.sleep(0.001)

    def sweep(self, after_s: float = 0.0) -> None:
        """Sweep as if so many seconds had passed."""
        clock = self.tcp._loop.time
        self.tcp._loop.time = lambda: clock() + after_s  # type: ignore[method-assign]
        self.tcp.sweep()
        self.tcp._loop.time = clock  # type: ignore[method-assign]


@asynccontextmanager
async def serving(limits: Limits = LIMITS) -> AsyncIterator[Running]:
    running = Running(limits)
    [address] = await running.tcp.listen(sockets_at("127.0.0.1", 0, 16), 16)
    running.port = int(address.rpartition(":")[2])
    try:
        yield running
    finally:
        running.tcp.stop_accepting()
        await running.tcp.close(0)


def test_accepts_up_to_the_limit() -> None:
    """A connection above the limit is told so, creates no handler, and makes room for nobody."""

    async def scenario() -> None:
        async with serving(Limits(max_connections=1, max_rejected=1)) as running:
            first, _ = await running.connect()
            second, _ = await running.connect()
            assert await second.read() == FULL
            assert running.events == [("connected", 1), ("rejected", 1)]
            assert len(running.handlers) == 1
            running.handlers[0].tcp.write(b"still here")
            assert await first.read(100) == b"still here"

    asyncio.run(scenario())


def test_bounds_lingering_rejections() -> None:
    """Of the rejected connections that linger, the oldest is closed when there are too many."""

    async def scenario() -> None:
        async with serving(Limits(max_connections=0, max_rejected=2)) as running:
            for _ in range(5):
                await running.connect()
            await running.until(lambda: len(running.tcp._admission.rejected) <= 2)
            assert len(running.tcp._admission.rejected) == 2

    asyncio.run(scenario())


def test_releases_a_closed_connection() -> None:
    """A client that leaves makes room for another one."""

    async def scenario() -> None:
        async with serving(Limits(max_connections=1)) as running:
            _, writer = await running.connect()
            writer.close()
            await running.until(lambda: not running.tcp.connections)
            await running.connect()
            assert running.events == [("connected", 1), "disconnected", ("connected", 1)]
            assert running.handlers[0].calls == ["eof", "lost"]

    asyncio.run(scenario())


def test_half_close_sends_the_answer_first() -> None:
    """A client that has ended its side gets all answers before the end."""

    async def scenario() -> None:
        async with serving() as running:
            reader, writer = await running.connect()
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read() == b"question"

    asyncio.run(scenario())


def test_finish_lingers() -> None:
    """After `finish` the peer has time to read: its input is discarded, and the linger timeout closes."""

    async def scenario() -> None:
        async with serving() as running:
            reader, writer = await running.connect()
            handler = running.handlers[0]
            handler.tcp.write(b"last answer")
            handler.tcp.finish()
            handler.tcp.write(b"too late")
            writer.write(b"more input")
            assert await reader.read() == b"last answer"
            assert handler.tcp.state is State.LINGERING
            running.sweep(after_s=1.9)
            assert handler.tcp.state is State.LINGERING
            running.sweep(after_s=2.1)
            await running.until(lambda: not running.tcp.connections)
            assert handler.calls == ["lost"]

    asyncio.run(scenario())


def test_finish_after_the_peer_closes_at_once() -> None:
    """Nobody lingers for a peer that has ended its side."""

    async def scenario() -> None:
        async with serving() as running:
            reader, writer = await running.connect()
            handler = running.handlers[0]
            handler.eof_received = handler.tcp.finish  # type: ignore[method-assign]
            writer.write_eof()
            assert await reader.read() == b""
            await running.until(lambda: not running.tcp.connections)

    asyncio.run(scenario())


def test_ends_without_a_valid_first_message() -> None:
    """However much arrives, a connection ends if its handler reports no valid message in time."""

    async def scenario() -> None:
        async with serving(Limits(max_connections=1, first_message_timeout_s=10.0)) as running:
            reader, writer = await running.connect()
            handler = running.handlers[0]
            handler.timeout = None
            writer.write(b"nonsense")
            await running.until(lambda: handler.calls)
            running.sweep(after_s=9.9)
            assert handler.tcp.state is State.OPEN
            running.sweep(after_s=10.1)
            assert await reader.read() == b"nonsense"
            assert running.events[-1] == "sent no valid message within 10 s"

    asyncio.run(scenario())


def test_ends_an_idle_connection() -> None:
    """The handler's idle timeout counts from the last input, and not while reading is paused."""

    async def scenario() -> None:
        async with serving() as running:
            reader, _ = await running.connect()
            handler = running.handlers[0]
            handler.timeout = 5.0
            handler.tcp.pause_reading()
            running.sweep(after_s=100.0)
            handler.tcp.resume_reading()
            running.sweep(after_s=104.9)
            assert handler.tcp.state is State.OPEN
            running.sweep(after_s=105.1)
            assert await reader.read() == b""
            assert running.events[-1] == "sent nothing for 5 s"

    asyncio.run(scenario())


async def fill(running: Running) -> Echo:
    """Connect a client that reads nothing, and write until its server has to wait."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", running.port))
    await running.until(lambda: running.handlers)
    handler = running.handlers[0]
    handler.client = client
    client.setblocking(False)
    while not handler.tcp.reading_paused:
        handler.tcp.write(bytes(1 << 24))
    return handler


def test_reads_nothing_from_a_peer_that_does_not_read() -> None:
    """Above the high watermark of the write buffer reading pauses and `send` waits, until the peer reads."""

    async def scenario() -> None:
        async with serving() as running:
            handler = await fill(running)
            sending = asyncio.ensure_future(handler.tcp.send(b"end"))
            await asyncio.sleep(0)
            assert not sending.done()
            client = handler.client
            while not sending.done():
                await asyncio.wait_for(running.tcp._loop.sock_recv(client, 1 << 20), TIMEOUT_S)
            assert not handler.tcp.reading_paused

    asyncio.run(scenario())


def test_aborts_a_peer_that_does_not_read() -> None:
    """A peer that reads nothing for the unread timeout is disconnected."""

    async def scenario() -> None:
        async with serving(Limits(max_connections=1, unread_timeout_s=30.0)) as running:
            handler = await fill(running)
            running.sweep(after_s=29.0)
            assert handler.tcp.state is State.OPEN
            running.sweep(after_s=31.0)
            assert running.events[-1] == "has not read its answers for 30 s"
            await running.until(lambda: not running.tcp.connections)

    asyncio.run(scenario())


@pytest.mark.parametrize(("rate", "state"), [(0.0, State.OPEN), (1e9, State.CLOSED)])
def test_enforces_a_minimum_rate(rate: float, state: State) -> None:
    """A slow peer stays as long as it reads at the minimum rate, of one byte in a timeout at least."""

    async def scenario() -> None:
        async with serving(Limits(max_connections=1, unread_timeout_s=30.0, min_bytes_per_s=rate)) as running:
            handler = await fill(running)
            running.sweep(after_s=1.0)
            transport = handler.tcp._transport
            assert transport
            size = transport.get_write_buffer_size()
            client = handler.client
            while transport.get_write_buffer_size() == size:
                await asyncio.wait_for(running.tcp._loop.sock_recv(client, 65536), TIMEOUT_S)
            running.sweep(after_s=31.0)
            assert handler.tcp.state is state

    asyncio.run(scenario())


def test_pauses_all_connections() -> None:
    """A paused server reads from no connection, new ones included, until it resumes."""

    async def scenario() -> None:
        async with serving() as running:
            _, first = await running.connect()
            running.tcp.pause_reading()
            _, second = await running.connect()
            await running.until(lambda: all(handler.tcp.reading_paused for handler in running.handlers))
            first.write(b"1")
            second.write(b"2")
            await asyncio.sleep(0)
            assert [handler.calls for handler in running.handlers] == [[], []]
            running.tcp.resume_reading()
            await running.until(lambda: [handler.calls for handler in running.handlers] == [["1"], ["2"]])

    asyncio.run(scenario())


def test_watermarks_pause_and_resume_once() -> None:
    """Reading pauses above the high watermark, and resumes at the low one, not between them."""
    calls: list[str] = []
    watermarks = Watermarks(10, 5, lambda: calls.append("pause"), lambda: calls.append("resume"))
    for queued in (10, 11, 12, 6, 5, 4, 10, 11):
        watermarks.update(queued)
    assert calls == ["pause", "resume", "pause"]


def test_drain_answers_then_aborts() -> None:
    """Drain lets each handler answer and close; a peer that does not read is aborted after the timeout."""

    async def scenario() -> None:
        async with serving() as running:
            await fill(running)
            reader, _ = await running.connect()
            running.tcp.stop_accepting()
            running.tcp.drain()
            assert await reader.read() == b"bye"
            await running.tcp.close(0.01)
            await running.until(lambda: not running.tcp.connections)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", running.port)

    asyncio.run(scenario())


def test_limits_apply_at_once() -> None:
    """New limits hold for the next connection."""

    async def scenario() -> None:
        async with serving(Limits(max_connections=0)) as running:
            reader, _ = await running.connect()
            assert await reader.read() in (FULL, b"")
            running.tcp.configure(LIMITS)
            await running.connect()
            assert running.events == [("rejected", 0), ("connected", 1)]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("files", "wanted", "expected"), [(10_000, 1000, (1000, 1000)), (1200, 1000, (1000, 72)), (160, 1000, (96, 16))]
)
def test_connection_limits_follow_the_open_files(
    monkeypatch: pytest.MonkeyPatch, files: int, wanted: int, expected: tuple[int, int]
) -> None:
    """Accepted and rejected connections together need fewer descriptors than the process may open."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert tcp_server.connection_limits(wanted, "X_MAX_CONNECTIONS") == expected
