"""Connections: what is logged and counted, the rate limit, the first-message timeout."""

import asyncio
from pathlib import Path

import pytest

from frota.cpu.messages import hello
from frota.net.tcp_server import State
from support.metrics import in_process_server, run


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    records: list[str] = []
    monkeypatch.setattr("frota.cpu.server.event_log.record", lambda _, __, text, **___: records.append(text))
    return records


def test_only_agents_are_logged_as_clients(tmp_path: Path, records: list[str]) -> None:
    """The legacy log texts count agents, not viewers or collectors."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            viewer = await asyncio.open_connection(*running.address)
            viewer[1].write(b'{"frota": 1, "ask": "hosts"}\n')
            await viewer[0].readline()
            collector = await asyncio.open_connection(*running.address)
            collector[1].write(b"GET /metrics HTTP/1.0\r\n\r\n")
            await collector[0].read()
            assert records == []
            for name in ("web-1", "web-2", "web-1"):
                await running.agent(name)
            assert running.server.event_log.connected_total == 5

    run(scenario())
    assert sum("[NOVA CONEXÃO]" in text for text in records) == 3
    assert [text for text in records if "STATUS" in text] == [
        f"[STATUS] Clientes conectados: {count}" for count in (1, 2, 2)
    ]


def test_hellos_are_rate_limited(tmp_path: Path) -> None:
    """Hellos count towards the rate limit of samples."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, samples_per_second=50) as running:
            agent = await running.agent()
            agent.writer.write(b"".join(hello("web-1", f"{number:032x}", 5.0) for number in range(200)))
            await running.until(lambda: running.server.event_log.rate_limited_total)
            assert running.server.tcp.connections[0].reading_paused

    run(scenario())


@pytest.mark.parametrize("beginning", [b"{", b"CPU -> ", b"GET /metrics"])
def test_no_valid_message_ends_the_connection(tmp_path: Path, beginning: bytes) -> None:
    """A connection that never completes a message ends after 10 s, whatever it sends."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            reader, writer = await asyncio.open_connection(*running.address)
            writer.write(beginning)
            await running.until(lambda: running.server.tcp.connections)
            [connection] = running.server.tcp.connections
            connection.check(running.server.tcp.limits, connection.opened_at + 9.9)
            assert running.server.event_log.aborted_total == 0
            connection.check(running.server.tcp.limits, connection.opened_at + 10.1)
            assert connection.state is State.LINGERING
            assert await reader.read() == b""
            writer.close()

    run(scenario())
