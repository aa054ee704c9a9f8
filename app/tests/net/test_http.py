"""HTTP for monitoring: what scrapers get, and what hostile clients cannot do."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from loguru import logger

from frota.net import http
from frota.net.exposition import Metric
from frota.net.http import MonitoringServer
from support import TIMEOUT_S, reserved_port

METRIC = Metric("frota_x_total", "counter", "Values.", lambda: 1)
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
Scenario = Callable[[int], Coroutine[Any, Any, None]]


def serve(scenario: Scenario, *metrics: Metric, healthy: bool = True, **options: Any) -> None:
    """Run a scenario beside a server, given its port."""

    async def run() -> None:
        with reserved_port() as port:
            server = MonitoringServer(metrics or [METRIC], lambda: healthy, **options)
            await server.start("127.0.0.1", port)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await scenario(port)
            finally:
                await server.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def ask(port: int, *pieces: bytes) -> bytes:
    """Send pieces over a new connection; return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    answer = await reader.read()
    writer.close()
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_metrics_and_health() -> None:
    """GET /metrics has the metrics, in one piece or split anywhere; GET /healthz says ok."""

    async def scenario(port: int) -> None:
        for pieces in ([GET], [GET[:7], GET[7:]], [GET[:-2], GET[-2:]], [b"GET /metrics?x=1 HTTP/1.0\r\n\r\n"]):
            answer = await ask(port, *pieces)
            assert status(answer) == 200
            assert b"\nfrota_x_total 1\n" in answer
            assert b"process_resident_memory_bytes" in answer
        healthz = await ask(port, b"GET /healthz HTTP/1.0\r\n\r\n")
        assert status(healthz) == 200
        assert healthz.endswith(b"\r\n\r\nok\n")

    serve(scenario)


def test_unhealthy_service() -> None:
    """GET /healthz of a service that is not alive is 503."""

    async def scenario(port: int) -> None:
        assert status(await ask(port, b"GET /healthz HTTP/1.0\r\n\r\n")) == 503

    serve(scenario, healthy=False)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET http://x/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", 405),
        (b"DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),  # without Host
        (b"GET /metrics HTTP/9.9\r\nHost\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),  # TLS
        (b"\0" * 100 + b"\r\n\r\n", 400),
        (b"GET /" + b"a" * http.MAX_REQUEST_BYTES, 400),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * http.MAX_REQUEST_BYTES, 400),
    ],
)
def test_other_requests(request_: bytes, expected: int) -> None:
    """Other paths are 404, other methods 405, malformed and oversized requests 400; the server serves on."""

    async def scenario(port: int) -> None:
        answer = await ask(port, request_)
        assert status(answer) == expected
        assert b"frota_x_total" not in answer
        assert status(await ask(port, GET)) == 200

    serve(scenario)


def test_second_request_of_a_connection_is_not_answered() -> None:
    """A connection is for one request; what follows it is ignored."""

    async def scenario(port: int) -> None:
        assert (await ask(port, GET + GET)).count(b"HTTP/1.1 200") == 1

    serve(scenario)


def test_many_connections_are_rejected_and_timed_out() -> None:
    """Idle clients hold a few connections until their timeout; further ones get 503; then scrapers are served again."""

    async def scenario(port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        idle[0][1].write(GET[:9])
        responses = await asyncio.gather(*(reader.read() for reader, _ in idle), return_exceptions=True)
        assert [answer for answer in responses if answer and b" 503 " in answer]  # type: ignore[operator]
        for _, writer in idle:
            writer.close()
        while status(await ask(port, GET)) != 200:  # noqa: ASYNC110 -- the server knows nothing of tests
            await asyncio.sleep(0.01)

    serve(scenario, request_timeout_s=0.5)


def test_slow_reader_is_aborted() -> None:
    """A client that does not read a large response costs one chunk of memory, and is disconnected."""
    made = 0

    def more() -> Any:
        nonlocal made
        for _ in range(1000):
            made += 1
            yield b"# " + b"x" * 100_000 + b"\n"

    async def scenario(port: int) -> None:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", port))
            await loop.sock_sendall(slow, GET)
            await asyncio.sleep(1)
            assert 0 < made < 200
            before = made
            assert b"200" in await loop.sock_recv(slow, 100)
            await asyncio.sleep(0.2)
            assert made == before

    serve(scenario, more=more, response_timeout_s=0.5)


def test_failing_metric_costs_only_the_scrape() -> None:
    """A defect while metrics are collected is an error of the server, and costs nothing else."""

    def fail() -> float:
        raise RuntimeError("a defect")

    async def scenario(port: int) -> None:
        assert status(await ask(port, GET)) == 500
        assert status(await ask(port, b"GET /healthz HTTP/1.0\r\n\r\n")) == 200

    serve(scenario, METRIC._replace(read=fail))


def test_failure_after_the_first_chunk() -> None:
    """A defect after the first chunk ends the connection without a complete response."""

    def more() -> Iterator[bytes]:
        yield b"frota_x_total 1\n"
        raise RuntimeError("a defect")

    async def scenario(port: int) -> None:
        response = await ask(port, GET)
        assert status(response) == 200
        assert not response.endswith(b"0\r\n\r\n")

    serve(scenario, more=more)


def test_port_in_use_is_a_warning() -> None:
    """A service whose port for metrics is in use works without metrics, and warns of it."""
    log: list[str] = []
    sink = logger.add(log.append, format="{level} {message}")

    async def scenario(port: int) -> None:
        second = MonitoringServer([METRIC], lambda: True)
        await second.start("127.0.0.1", port)
        await second.stop()
        assert status(await ask(port, GET)) == 200

    serve(scenario)
    logger.remove(sink)
    assert [line for line in log if line.startswith("WARNING no metrics, the service works without: 127.0.0.1:")]


def test_port_0_listens_nowhere() -> None:
    """Without a port nothing listens."""

    async def scenario() -> None:
        server = MonitoringServer([METRIC], lambda: True)
        await server.start("127.0.0.1", 0)
        assert server._tcp is None
        await server.stop()

    asyncio.run(scenario())
