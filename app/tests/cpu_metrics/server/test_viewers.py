"""Viewers that read slowly, or not at all: they cost little, and cut nobody else off."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from frota.cpu_metrics.framing import Ask, Reading
from frota.cpu_metrics.server import connection
from frota.cpu_metrics.server import server as metrics_server
from support import PATIENCE
from support.metrics import SAMPLE, Inner, inner, run

ASK = b'{"frota": 1, "ask": "history", "host": "many", "seconds": 1e9}\n'


def many(one: Inner, samples: int = 150) -> None:
    """Have a host whose history no kernel keeps for who does not read."""
    host = one.server.hosts.known("many", "original", 5.0)
    for _ in range(samples):
        one.server.hosts.take(host, Reading(0, 0.0, SAMPLE._replace(cpu=(12.3,) * 4000)))


async def viewer(one: Inner) -> socket.socket:
    """Connect with hardly any room to receive."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, one.address)
    await loop.sock_sendall(connection, ASK)
    return connection


def test_a_viewer_that_takes_nothing_of_its_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_TAKES_SECONDS", 0.05)

    async def scenario() -> None:
        async with inner(tmp_path) as one:
            many(one)
            with await viewer(one):
                await one.until(lambda: one.server.event_log.cut_total == 1)
                await one.until(lambda: not one.server._connections)
            monkeypatch.undo()
            assert len(await one.numbers("many")) == 150

    run(scenario())


class Shrinking:
    """A transport of whose buffer a little has been taken whenever somebody looks."""

    def __init__(self, transport: Any) -> None:
        self._transport, self.looks = transport, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        return (1 << 30) - self.looks


def test_a_viewer_that_takes_little_at_a_time_gets_all_of_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_TAKES_SECONDS", 0.001)
    made = connection.Connection.connection_made
    transports: list[Shrinking] = []

    def slowly(self: connection.Connection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        transports.append(Shrinking(transport))
        self._transport = transports[0]  # type: ignore[assignment]

    monkeypatch.setattr(connection.Connection, "connection_made", slowly)

    async def scenario() -> None:
        async with inner(tmp_path) as one:
            many(one)
            with await viewer(one) as slow:
                await one.until(lambda: transports and transports[0].looks > 5)
                data = b""
                async with asyncio.timeout(PATIENCE):
                    while not data.endswith(b'"end":true}\n'):
                        piece = await asyncio.get_running_loop().sock_recv(slow, 1 << 20)
                        assert piece
                        data += piece
            assert sum(len(json.loads(line).get("number", ())) for line in data.splitlines()) == 150

    run(scenario())


def test_only_a_few_answers_are_made_at_a_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inner(tmp_path) as one:
            go, making, most = asyncio.Event(), 0, 0

            async def answer(_: Ask) -> AsyncIterator[bytes]:
                nonlocal making, most
                making += 1
                most = max(most, making)
                await go.wait()
                yield b'{"end": true}\n'
                making -= 1

            one.server.replies.to = answer  # type: ignore[method-assign,assignment]
            asked = [asyncio.ensure_future(one.told(ask="hosts")) for _ in range(30)]
            await one.until(lambda: len(one.server._viewers) == 30)
            go.set()
            await asyncio.gather(*asked)
            assert most == metrics_server._ANSWERS

    run(scenario())
