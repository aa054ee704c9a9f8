"""Full and slow disks: only stored samples are acknowledged, and the log says what helps."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from frota.cpu.server.history import Changes
from support import TIMEOUT_S
from support.metrics import SAMPLE, InProcessServer, in_process_server, run

LAST = "nothing more is acknowledged, and the server ends"
Records = list[tuple[str, str]]


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    records: Records = []
    monkeypatch.setattr("frota.logs.log.record", lambda _, event, text, **__: records.append((event, text)))
    return records


async def fill(running: InProcessServer) -> None:
    """Leave the history no room for one page more."""
    table = running.server.writer.history._opened
    await asyncio.get_running_loop().run_in_executor(
        running.server.writer._thread, table.execute, "PRAGMA max_page_count = 1"
    )


@pytest.mark.parametrize("stops", [False, True], ids=["in its life", "at its end"])
def test_full_disk_ends_the_server(tmp_path: Path, records: Records, stops: bool) -> None:
    """On a full disk nothing more is acknowledged, and the server ends with a record."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            agent = await running.agent()
            await agent.send(1, 2)
            await fill(running)
            if stops:
                running.server.writer.settings = replace(running.server.settings, commit_seconds=TIMEOUT_S)
                await agent.send(3)  # for the last time soon
            agent.writer.write(b"".join(SAMPLE.native(number, 0.0) for number in range(4, 500)))
            host = running.server.hosts.get("web-1")
            await running.until(lambda: host and host.row.last == 499 if stops else running.ended)
        assert running.ended == [1]
        assert b"ack" not in await agent.reader.read()

    run(scenario())
    assert records[-2:] == [
        ("disk_failed", f"{tmp_path}/state/history.sqlite: database or disk is full; free disk space; {LAST}"),
        ("stopped", "stopped; agents keep what was not acknowledged"),
    ]


def test_full_disk_keeps_acknowledged_samples(tmp_path: Path) -> None:
    """Samples acknowledged before the disk was full are stored."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            agent = await running.agent()
            await agent.send(1, 2)
            await fill(running)
            agent.writer.write(b"".join(SAMPLE.native(number, 0.0) for number in range(3, 500)))
            await running.until(lambda: running.ended)
        async with in_process_server(tmp_path) as running:
            assert await running.numbers("web-1") == [1, 2]

    run(scenario())


def test_stop_waits_for_the_running_write(tmp_path: Path, records: Records) -> None:
    """A stop waits for the write in progress and acknowledges its samples."""
    begun, go = threading.Event(), threading.Event()

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            agent = await running.agent()
            write = running.server.writer.history.write

            def slowly(changes: Changes) -> int:
                begun.set()
                assert go.wait(TIMEOUT_S)
                return write(changes)

            running.server.writer.history.write = slowly  # type: ignore[method-assign] # a slow disk
            agent.writer.write(SAMPLE.native(1, 0.0))
            await running.until(begun.is_set)
            asyncio.get_running_loop().call_later(0.05, go.set)
        lines = [json.loads(line) for line in (await agent.reader.read()).splitlines()]
        assert lines == [{"frota": 1, "ack": 1}]

    run(scenario())
    assert records[-1] == ("stopped", "stopped; everything received is on disk")
