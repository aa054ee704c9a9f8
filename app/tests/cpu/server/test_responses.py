"""History queries: every sample once and in order, whatever is written meanwhile."""

import asyncio
import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from frota.cpu import history_chunk
from frota.cpu.framing import Hello, Query, SampleMessage
from frota.cpu.server.history import MAX_CHUNK_SAMPLES, History, StoredChunk
from frota.cpu.server.hosts import Hosts
from frota.cpu.server.responses import Responses
from support.metrics import RUN, SAMPLE, in_process_server, run

EVER = 1e12  # seconds
OLD = (
    """CREATE TABLE hosts (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dialect TEXT NOT NULL, run TEXT NOT NULL,
        last INTEGER NOT NULL, first_seen REAL NOT NULL, last_seen REAL NOT NULL, interval REAL NOT NULL,
        samples INTEGER NOT NULL, missing INTEGER NOT NULL, duplicates INTEGER NOT NULL, ordinal INTEGER NOT NULL,
        chunked INTEGER NOT NULL)""",
    "CREATE TABLE recent (sequence INTEGER PRIMARY KEY, host INTEGER NOT NULL, sample BLOB NOT NULL)",
    """CREATE TABLE chunks (
        host INTEGER NOT NULL, ordinal INTEGER NOT NULL, ended REAL NOT NULL, columns BLOB NOT NULL,
        PRIMARY KEY (host, ordinal)) WITHOUT ROWID""",
)


class Keeper:
    """Hosts with their history in a folder, and what a viewer is told of them."""

    def __init__(self, folder: Path, most: int = 17_280) -> None:
        self.folder, self.most = folder, most
        self.hosts, self.history = Hosts(), History(folder)
        self.history.open()
        self.hosts.restore(*self.history.load())

    def take(self, *numbers: int, run: str = RUN, age: float = 0.0) -> None:
        """Take samples of the one host."""
        host = self.hosts.greet(Hello("web-1", run, 5.0, 0))
        for number in numbers:
            self.hosts.take(host, SampleMessage(number, age, SAMPLE))

    def write(self) -> None:
        """Put all that is new on disk."""
        self.history.write(self.hosts.take_changes(self.most))
        self.hosts.written()

    def served(self, seconds: float = EVER, before: Callable[[], None] = lambda: None) -> list[int]:
        """Return the numbers that a viewer gets; `before` is called before each look at the disk."""
        replies = Responses(self.hosts, self.folder)
        look = replies._history.chunks

        def chunks(*words: Any) -> list[StoredChunk]:
            before()
            return look(*words)

        replies._history.chunks = chunks  # type: ignore[method-assign,assignment] # a call before each read

        async def ask() -> bytes:
            await replies.open()
            return b"".join([piece async for piece in replies.respond(Query("history", "web-1", seconds))])

        try:
            lines = asyncio.run(ask()).splitlines()
        finally:
            replies.close()
        return [number for line in lines[:-1] for number in json.loads(line)["number"]]


def test_pending_chunk_is_in_the_history(tmp_path: Path) -> None:
    """Samples of a chunk that is not on disk yet are part of the history."""
    keeper = Keeper(tmp_path)
    keeper.take(*range(1, 100))
    keeper.write()
    keeper.take(*range(100, 300))
    changes = keeper.hosts.take_changes(keeper.most)
    assert keeper.served() == list(range(1, 300))
    keeper.history.write(changes)
    assert keeper.served() == list(range(1, 300))
    keeper.hosts.written()
    assert keeper.served() == list(range(1, 300))


def test_commit_during_a_query_duplicates_nothing(tmp_path: Path) -> None:
    """A chunk that is written during a query is sent once."""
    keeper = Keeper(tmp_path)
    keeper.take(*range(1, 100))
    keeper.write()
    keeper.take(*range(100, 300))
    assert keeper.served(before=keeper.write) == list(range(1, 300))


def test_history_of_many_chunks(tmp_path: Path) -> None:
    """A history of many chunks is sent completely and in order."""
    keeper = Keeper(tmp_path)
    keeper.take(*range(1, 5000))
    keeper.write()
    assert keeper.served() == list(range(1, 5000))


def test_retention_counts_samples_not_chunks(tmp_path: Path) -> None:
    """Many short chunks do not shorten the history below its limit."""
    keeper = Keeper(tmp_path, most=500)
    keeper.take(*range(1, 1000))
    keeper.write()
    for number in range(100):
        keeper.take(1, run=f"{number:032x}")
        keeper.write()
    records = keeper.served()
    assert records[-100:] == [1] * 100
    assert 500 <= len(records) <= 500 + 2 * MAX_CHUNK_SAMPLES
    assert records[:-100] == list(range(records[0], 1000))


def test_older_file_is_read_and_trimmed(tmp_path: Path) -> None:
    """The file of an older release is read, and trimmed to the limit."""
    samples = [history_chunk.pack(1e9 + number, number, SAMPLE) for number in range(1, 301)]
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as table, table:
        for statement in OLD:
            table.execute(statement)
        row = (1, "web-1", "native", RUN, 300, 1e9, 1e9 + 300, 5.0, 300, 0, 0, 5, 300)
        table.execute(f"INSERT INTO hosts VALUES ({', '.join('?' * 13)})", row)
        for ordinal in range(1, 6):
            piece = samples[60 * ordinal - 60 : 60 * ordinal]
            columns = zlib.compress(history_chunk.line(piece))
            table.execute("INSERT INTO chunks VALUES (1, ?, ?, ?)", (ordinal, 1e9 + 60 * ordinal, columns))
    keeper = Keeper(tmp_path, most=200)
    assert keeper.served() == list(range(1, 301))
    keeper.take(*range(301, 401))
    keeper.write()
    records = keeper.served()
    assert records == list(range(records[0], 401))
    assert 200 <= len(records) <= 200 + 2 * MAX_CHUNK_SAMPLES


@pytest.mark.parametrize("step", [-5 * 3600, 21 * 86400])
def test_history_survives_clock_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """After clock changes all samples are sent in their order, within the limit."""
    keeper, real, ahead = Keeper(tmp_path, most=500), __import__("time").time, [0.0]
    monkeypatch.setattr("time.time", lambda: real() + ahead[0])
    keeper.take(*range(1, 100))
    ahead[0] = step
    keeper.take(*range(100, 200))
    keeper.write()
    assert keeper.served() == list(range(1, 200))
    assert keeper.served(3600)[-100:] == list(range(100, 200))
    if step < 0:  # what was taken before the step is of a time that is still to come
        assert keeper.served(3600) == list(range(1, 200))
    ahead[0] = 0.0
    assert keeper.served(3600)[:99] == list(range(1, 100))
    keeper.take(*range(200, 2000))
    keeper.write()
    records = keeper.served()
    assert records == list(range(records[0], 2000))
    assert len(records) <= 500 + 2 * MAX_CHUNK_SAMPLES


def test_restart_keeps_the_latest_sample(tmp_path: Path) -> None:
    """The latest sample and means of a disconnected host survive a restart."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            host = running.server.hosts.greet(Hello("web-1", RUN, 5.0, 0))
            for number in range(1, 60):
                running.server.hosts.take(host, SampleMessage(number, 0.0, SAMPLE._replace(mean=float(number))))
            assert host.tail == []
            [before] = await running.query(ask="hosts")
            assert before["sample"]["mean"] == 59
        async with in_process_server(tmp_path) as running:
            [after] = await running.query(ask="hosts")
        assert {**after, "age": 0} == {**before, "age": 0}

    run(scenario())
