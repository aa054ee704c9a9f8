"""A damaged history: damage is skipped and logged once, everything else is served."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from frota.cpu.framing import Hello, SampleMessage
from frota.cpu.server.history import History
from frota.cpu.server.hosts import Hosts
from support.metrics import RUN, SAMPLE, in_process_server, run

Records = list[tuple[str, str]]


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    records: Records = []
    monkeypatch.setattr("frota.logs.log.record", lambda _, event, text, **__: records.append((event, text)))
    return records


def store_history(folder: Path) -> None:
    """Leave a history of two hosts, each with three chunks and some samples in none."""
    (folder / "state").mkdir()
    history, hosts = History(folder / "state"), Hosts()
    history.open()
    for name in ("web-1", "web-2"):
        host = hosts.greet(Hello(name, RUN, 5.0, 0))
        for number in range(1, 171):
            hosts.take(host, SampleMessage(number, 0.0, SAMPLE))
    history.write(hosts.take_changes(17_280))
    history.close()


DAMAGE = {
    "a packed sample is cut": "UPDATE recent SET sample = substr(sample, 1, 20) WHERE sequence = 171 + 165",
    "a packed sample is empty": "UPDATE recent SET sample = x'' WHERE sequence = 171 + 165",
    "a packed sample is no bytes": "UPDATE recent SET sample = 5 WHERE sequence = 171 + 165",
    "its time is none": "UPDATE recent SET sample = x'000000000000f07f' || substr(sample, 9) WHERE sequence > 330",
    "its time is beyond all": "UPDATE recent SET sample = CAST(x'ffffffffffffef7f' || substr(sample, 9) AS BLOB)",
    "a chunk is cut": "UPDATE chunks SET columns = substr(columns, 1, 30) WHERE host = 2 AND ordinal = 2",
    "a chunk is no bytes": "UPDATE chunks SET columns = 5 WHERE host = 2 AND ordinal = 2",
    "a chunk is zeros": "UPDATE chunks SET columns = zeroblob(500) WHERE host = 2 AND ordinal = 2",
    "the last sample is cut": "UPDATE hosts SET latest = substr(latest, 1, 11) WHERE id = 2",
    "the means are cut": "UPDATE hosts SET means = x'00' WHERE id = 2",
    "a name is no text": "UPDATE hosts SET name = CAST(x'ff80' AS TEXT), run = 5 WHERE id = 2",
    "a counter is a text": "UPDATE hosts SET samples = 'x' WHERE id = 2",
    "a sequence number is beyond all": "UPDATE hosts SET chunked = 9223372036854775807 WHERE id = 2",
    "a number is beyond all": "UPDATE hosts SET last = 9223372036854775807 WHERE id = 2",
    "an id is beyond all": "UPDATE hosts SET id = 9223372036854775807 WHERE id = 2",
    "a chunk's host is beyond all": "UPDATE chunks SET host = 9223372036854775807 WHERE host = 2 AND ordinal = 2",
    "a row of a sample is beyond all": "UPDATE recent SET sequence = 9223372036854775807 WHERE sequence = 171 + 165",
    "a sample's number is beyond all": """UPDATE recent
        SET sample = CAST(substr(sample, 1, 8) || x'ffffffffffffff7f' || substr(sample, 17) AS BLOB)
        WHERE sequence = 171 + 165""",
    "a date is beyond all": "UPDATE hosts SET first_seen = 9e300 WHERE id = 2",
    "the former runs are none": "UPDATE hosts SET former = 'x:y,' WHERE id = 2",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_confined_to_one_host(tmp_path: Path, records: Records, what: str) -> None:
    """Damaged rows of one host are skipped; other hosts and viewers are served."""
    store_history(tmp_path)
    with closing(sqlite3.connect(tmp_path / "state" / "history.sqlite")) as table, table:
        assert table.execute(DAMAGE[what]).rowcount

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            numbers = await running.numbers("web-1")
            assert numbers[:100] == list(range(1, 101))
            hosts = {host["host"]: host for host in await running.query(ask="hosts")}
            assert "web-1" in hosts
            if "web-2" in hosts:
                for _ in range(3):
                    assert len(await running.numbers("web-2")) >= 100
            reader, writer = await asyncio.open_connection(*running.address)
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert b'frota_cpu_samples_total{host="web-1"}' in await reader.read()
            for name in ("web-1", "web-2", "web-3"):
                agent = await running.agent(name, "cd" * 16)
                await agent.send(1, 2)
                assert (await running.numbers(name))[-2:] == [1, 2]
                agent.close()
            assert await running.numbers("web-3") == [1, 2]

    run(scenario())
    damaged = [text for event, text in records if event == "history_corrupted"]
    untold = ("last sample", "means", "former", "chunk's host")
    assert len(damaged) == (0 if any(kind in what for kind in untold) else 1)
    assert all(text.isprintable() for text in damaged)


def test_failed_response_ends_with_an_error(tmp_path: Path, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that fails ends with an error message instead of silence."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            agent = await running.agent()
            await agent.send(1)
            monkeypatch.setattr("frota.cpu.server.host.Host.shown", lambda *_: 1 / 0)
            viewer = await running.connect("web-2")
            assert "last" in await viewer.receive()
            viewer.writer.write(b'{"frota": 1, "ask": "hosts"}\n')
            assert "erro interno" in (await viewer.receive())["error"]
            monkeypatch.undo()
            assert await running.numbers("web-1") == [1]

    run(scenario())
    assert "internal_error" in [event for event, _ in records]
