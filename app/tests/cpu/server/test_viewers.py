"""Viewers that read slowly or not at all cost little and affect nobody else."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from frota.cpu.framing import Query, SampleMessage
from frota.cpu.server import responses
from support import TIMEOUT_S
from support.metrics import SAMPLE, InProcessServer, in_process_server, run

ASK = b'{"frota": 1, "ask": "history", "host": "many", "seconds": 1e9}\n'


def many(running: InProcessServer, samples: int = 150) -> None:
    """Have a host whose history no kernel keeps for who does not read."""
    host = running.server.hosts.get_or_create("many", "original", 5.0)
    for _ in range(samples):
        running.server.hosts.take(host, SampleMessage(0, 0.0, SAMPLE._replace(cpu=(12.3,) * 4000)))


async def viewer(running: InProcessServer) -> socket.socket:
    """Connect with hardly any room to receive."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, running.address)
    await loop.sock_sendall(connection, ASK)
    return connection


def test_viewer_that_does_not_read_is_aborted(tmp_path: Path) -> None:
    """A viewer that reads nothing of a response within the unread timeout is disconnected; others are served."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            many(running)
            running.server.tcp.configure(replace(running.server.tcp.limits, unread_timeout_s=0.05))
            with await viewer(running):
                await running.until(lambda: not running.server.tcp.connections)
            assert running.server.event_log.aborted_total == 1
            running.server.tcp.configure(replace(running.server.tcp.limits, unread_timeout_s=TIMEOUT_S))
            assert len(await running.numbers("many")) == 150

    run(scenario())


def test_slow_viewer_gets_the_whole_response(tmp_path: Path) -> None:
    """A viewer that reads little by little is not disconnected, and gets all samples."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            many(running)
            with await viewer(running) as slow:
                data = b""
                async with asyncio.timeout(TIMEOUT_S):
                    while not data.endswith(b'"end":true}\n'):
                        chunk = await asyncio.get_running_loop().sock_recv(slow, 1 << 16)
                        assert chunk
                        data += chunk
                        running.server.tcp.sweep()
            assert sum(len(json.loads(line).get("number", ())) for line in data.splitlines()) == 150

    run(scenario())


def test_concurrent_responses_are_limited(tmp_path: Path) -> None:
    """Of many queries at once only a few are answered at a time, and all are answered in the end."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            go, making, most = asyncio.Event(), 0, 0

            async def answer(_: Query) -> AsyncIterator[bytes]:
                nonlocal making, most
                making += 1
                most = max(most, making)
                await go.wait()
                yield b'{"end": true}\n'
                making -= 1

            running.server.services.responses.respond = answer  # type: ignore[method-assign,assignment] # slow responses
            queries = [asyncio.ensure_future(running.query(ask="hosts")) for _ in range(30)]
            await running.until(lambda: len(running.server.services.tasks) == 30)
            go.set()
            await asyncio.gather(*queries)
            assert most == responses._MAX_CONCURRENT

    run(scenario())
