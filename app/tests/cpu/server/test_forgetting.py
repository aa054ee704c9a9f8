"""Expiry of hosts: by the servers' running time since they were last seen, whatever the clock says."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from frota.cpu.server.history import History
from frota.cpu.server.hosts import Hosts
from support.metrics import STORED_HOST, InProcessServer, in_process_server, run

DAY, WEEK = 86400.0, 7 * 86400.0
Set = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Give a function that sets the clock so many seconds ahead of the real one."""
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
    return lambda seconds: ahead.__setitem__(0, seconds)


async def visit(running: InProcessServer, *numbers: int) -> None:
    """Let a host come, send samples and go."""
    agent = await running.agent()
    await agent.send(*numbers)
    agent.close()
    await running.until(lambda: running.server.hosts.get("web-1").connection is None)  # type: ignore[union-attr] # connected


def is_known(running: InProcessServer, after: float = 0.0) -> bool:
    """Tell whether the host is known to a server that has run for so many more seconds."""
    clock = running.server.tcp.clock
    before, clock.now = clock.now, clock.now + after
    running.server.services.agents.sweep()
    clock.now = before
    return running.server.hosts.get("web-1") is not None


def test_clock_change_deletes_no_host(tmp_path: Path, set_clock: Set) -> None:
    """Setting the clock deletes no host and hides no sample."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, expiry_days=1.0) as running:
            await visit(running, 1, 2)
            for number, ahead in enumerate((3 * WEEK, -5 * 3600.0, 0.0), 3):
                set_clock(ahead)
                assert is_known(running)
                await visit(running, number)
                assert is_known(running)
                assert await running.numbers("web-1") == list(range(1, number + 1))

    run(scenario())


def test_downtime_deletes_no_host(tmp_path: Path, set_clock: Set) -> None:
    """Time in which no server ran does not count towards CPU_EXPIRY_DAYS."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, expiry_days=1.0) as running:
            await visit(running, 1, 2)
        set_clock(WEEK)
        async with in_process_server(tmp_path, expiry_days=1.0) as running:
            assert is_known(running)
            assert await running.numbers("web-1") == [1, 2]

    run(scenario())


def test_expiry_counts_from_last_seen(tmp_path: Path) -> None:
    """A host expires by when it was last seen, not by the age of its samples."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, expiry_days=1.0) as running:
            await visit(running, 1, 2)
            assert is_known(running, after=0.9 * DAY)
            assert not is_known(running, after=1.1 * DAY)
            assert await running.query(ask="hosts") == []

    run(scenario())


def test_old_backlog_keeps_its_host(tmp_path: Path) -> None:
    """A host that delivers old samples has just been seen."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, expiry_days=1.0) as running:
            agent = await running.agent()
            await agent.send(1, 2, age=2 * DAY)
            agent.close()
            await running.until(lambda: running.server.hosts.get("web-1").connection is None)  # type: ignore[union-attr] # connected
            assert is_known(running)

    run(scenario())


def test_last_seen_is_stored_on_disconnect(tmp_path: Path) -> None:
    """When a host disconnects, the time at which it was last seen is stored."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            agent = await running.agent()
            host = running.server.hosts.get("web-1")
            assert host
            host.heard += DAY
            agent.close()
            history = History(tmp_path / "state")
            history.open()
            await running.until(lambda: history.load()[0][0].heard >= DAY)
            history.close()

    run(scenario())


def test_expiry_counts_over_restarts(tmp_path: Path) -> None:
    """The time since a host was last seen adds up over restarts."""
    history = History(tmp_path)
    history.open()
    hosts = Hosts()
    hosts.restore([STORED_HOST._replace(heard=5.0), STORED_HOST._replace(id=2, name="b", heard=5.0 + DAY)], [], 0)
    for host in hosts:
        hosts.touch(host)
    history.write(hosts.take_changes(1000))
    restored = Hosts()
    restored.restore(*history.load())
    first, other = restored
    assert other.heard - first.heard == pytest.approx(DAY)
    assert 0 <= time.monotonic() - other.heard < 60
    history.close()


@pytest.mark.parametrize("last_seen", [9 * DAY, 2e9, 5e10, -5e10])
def test_damaged_last_seen_is_repaired(tmp_path: Path, last_seen: float) -> None:
    """A damaged time of one host deletes no host and is replaced."""
    history = History(tmp_path)
    history.open()
    hosts = Hosts()
    for number, name in enumerate(("away", "shortly", "damaged"), 1):
        hosts.restore([STORED_HOST._replace(id=number, name=name, heard=0.5 * DAY * number)], [], 0)
        hosts.touch(*hosts)
        history.write(hosts.take_changes(1000))
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as table, table:
        table.execute("UPDATE hosts SET heard = ? WHERE name = 'damaged'", (last_seen,))
    for _ in range(2):
        restored = Hosts(forget_seconds=WEEK)
        restored.restore(*history.load())
        assert {host.row.name: round((time.monotonic() - host.heard) / DAY, 1) for host in restored} == {
            "away": 0.5,
            "shortly": 0.0,
            "damaged": 0.0 if last_seen > 0 and last_seen < 3e9 else 1.0,
        }
        history.write(restored.take_changes(1000))
    assert max(row.heard for row in history.load()[0]) < WEEK
    history.close()
