"""Streams: history is the same everywhere, and a tail has no gap or duplicate."""

import asyncio
import errno
import json
import threading
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from frota.sensors.history import history
from frota.sensors.readings import Query, head
from frota.sensors.server.subscriptions import Subscription
from frota.storage.wal import segment
from frota.storage.wal.log import Limits, LogFiles
from frota.storage.wal.segment import NO_PRODUCER, encode_commit, encode_record
from support import (
    LINE,
    READING,
    RESPONSE,
    RESPONSE_LINE,
    TIMEOUT_S,
    Disk,
    Server,
    output,
    read_all,
    read_exactly,
    server,
    serving,
    start_frota,
)


def test_history_from_folder_and_server(running: Server) -> None:
    """History is the same from the folder and from the server."""
    running.request(b"".join(b"S%d - Umidade: %d%%\n" % (number % 3, number % 100) for number in range(2000)))
    where = ("--host", "127.0.0.1", "--port", running.port)
    for question in (("--last", 1500), ("--sensor", "S1", "--last", 5), ("--since", "10m"), ("--since", "2099-01-01")):
        printed = output("sensors", "history", "--json", *where, *question)
        assert printed == output("sensors", "history", "--json", "--state-dir", running.state, *question)
    assert len(output("sensors", "history", *where, "--last", 7).splitlines()) == 7


def test_tail_has_no_gap_or_duplicate(running: Server) -> None:
    """A tail has stored, then new readings, without a gap or a duplicate."""
    numbers = iter(range(10**6))

    def more(count: int) -> bytes:
        return b"".join(b"S - Umidade: %d%%\n" % next(numbers) for _ in range(count))

    running.request(more(100))
    with running.connect() as sender, running.connect() as viewer:
        viewer.sendall(b'frota tail {"last": 50}\n')
        lines = viewer.makefile("rb")
        for _ in range(20):
            sender.sendall(more(10))
            read_exactly(sender, 10 * len(RESPONSE_LINE))
        values = [int(json.loads(lines.readline())["value"]) for _ in range(150)]
    assert values == list(range(values[0], values[0] + 150))
    assert values[0] >= 50


def test_slow_subscriber_is_disconnected(tmp_path: Path) -> None:
    """A subscriber that does not read is disconnected with the reason and costs little memory."""
    with server(tmp_path, "--log-readings-per-second", 0, fresh=True) as running, running.connect() as viewer:
        viewer.sendall(b"frota tail {}\n")
        running.request(READING)
        viewer.recv(1)
        before = running.rss_kib()
        with running.connect() as sender:
            for _ in range(200):
                sender.sendall(LINE * 1000)
                assert read_exactly(sender, 1000 * len(RESPONSE_LINE)) == RESPONSE_LINE * 1000
        assert running.rss_kib() - before < 24 * 1024
        assert read_all(viewer).endswith(b"frota end lento demais, conecte-se de novo\n")


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(folder) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()


def test_history_is_read_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are read in threads, not in the event loop."""
    threads = set()
    listed = segment.segment_numbers

    def noting(directory: Path) -> list[int]:
        threads.add(threading.current_thread())
        return listed(directory)

    async def ask() -> None:
        async with asking(tmp_path) as (reader, writer):
            monkeypatch.setattr(segment, "segment_numbers", noting)
            writer.write(LINE + b"frota history {}\n")
            assert (await reader.read()).endswith(b"frota end\n")

    asyncio.run(ask())
    assert threads
    assert threading.main_thread() not in threads


def test_query_follows_earlier_answers(tmp_path: Path, disk: Disk) -> None:
    """A reading before a query is answered first and is part of the history."""

    async def ask() -> None:
        async with asking(tmp_path) as (reader, writer):
            disk.may_sync.clear()
            writer.write(LINE + b"frota history {}\n")
            await asyncio.to_thread(disk.syncing.wait, TIMEOUT_S)
            disk.may_sync.set()
            answer, reading, end = (await reader.read()).splitlines(keepends=True)
            assert (answer, json.loads(reading)["text"], end) == (RESPONSE_LINE, READING.decode(), b"frota end\n")

    asyncio.run(ask())


def test_failed_stream_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that fails ends with an error."""

    def broken(_: Path) -> list[int]:
        raise OSError(errno.EMFILE, "Too many open files")

    async def ask() -> None:
        async with asking(tmp_path) as (reader, writer):
            monkeypatch.setattr(segment, "segment_numbers", broken)
            writer.write(b"frota tail {}\n")
            assert await reader.read() == b"frota end erro interno do servidor\n"

    asyncio.run(ask())


@pytest.mark.parametrize("ends_first", [True, False])
def test_finished_stream_does_not_linger(tmp_path: Path, ends_first: bool) -> None:
    """Once both sides have ended, a stream's connection is closed at once."""

    async def ask() -> None:
        async with serving(tmp_path) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            server.tcp.configure(replace(server.tcp.limits, linger_s=3600.0))
            writer.write(b"frota history {}\n")
            if ends_first:
                writer.write_eof()
            assert await reader.read() == b"frota end\n"
            writer.close()
            async with asyncio.timeout(TIMEOUT_S):
                while server.tcp.connections:  # noqa: ASYNC110 -- the server knows nothing of tests
                    await asyncio.sleep(0.005)

    asyncio.run(ask())


def test_query_for_an_invalid_name_is_rejected(running: Server, tmp_path: Path) -> None:
    """A query for a name that cannot be UTF-8 is rejected."""
    assert "sensor é um texto" in running.request(b'frota history {"sensor": "\\ud800"}\n').decode()
    process = start_frota("sensors", "history", "--state-dir", tmp_path, "--sensor", "\udcff", stderr=-1)
    assert b"--sensor '\\udcff': no sensor has such a name" in process.communicate(timeout=TIMEOUT_S)[1]


def test_search_stops_when_unwanted(running: Server) -> None:
    """Reading history stops soon after nobody wants it."""
    running.request(LINE * 3)
    records: list[None] = []

    def twice() -> bool:
        records.append(None)
        return len(records) <= 2

    assert len(list(history(running.state, Query(), print, is_needed=twice))) == 3
    assert list(history(running.state, Query(), print, is_needed=lambda: False)) == []


def test_sigterm_with_open_connections(tmp_path: Path) -> None:
    """SIGTERM ends the server although streams and idle connections are open."""
    running = Server(tmp_path)
    with running.connect() as viewer, running.connect() as idle:
        viewer.sendall(b"frota tail {}\n")
        idle.sendall(READING)
        assert read_exactly(idle, len(RESPONSE)) == RESPONSE
        assert running.stop() == 0
        assert read_all(idle) == b""


def test_subscription_queue_is_bounded() -> None:
    """The queue of a slow subscriber is bounded."""

    async def offer() -> None:
        follower = Subscription(Query())
        for _ in range(50):
            follower.publish([(bytes(2**20), 0, NO_PRODUCER, 0, print, None)])
        with pytest.raises(OverflowError):
            await follower.lines()

    tracemalloc.start()
    try:
        asyncio.run(offer())
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_damage_is_reported_once(tmp_path: Path) -> None:
    """Damage in a segment is reported once; everything else is shown."""
    with server(tmp_path, "--segment-bytes", 4096) as running:
        for number in range(3):  # each fills a segment
            running.request(b"S%d - Umidade: 5%%\n" % number * 250)
        damaged = segment.path_of(running.state, 2)
        data = bytearray(damaged.read_bytes())
        data[200] ^= 1
        damaged.write_bytes(data)
        message = f"{damaged}: {len(data) - 61} bytes, from offset 61 to the end, are damaged and skipped"
        words = ("sensors", "history", "--sensor", "S0", "--last", 5)
        for where in (("--state-dir", running.state), ("--port", running.port), ("--port", running.port)):
            process = start_frota(*words, *where, stdout=-1, stderr=-1)
            readings, errors = process.communicate(timeout=TIMEOUT_S)
            assert readings.count(b"S0 - Umidade: 5%") == 5
            assert errors.decode() == (f"frota: {message}\n" if where[0] == "--state-dir" else "")
            assert process.returncode == 0
        assert running.log().count(message) == 1


def keep(folder: Path, *texts: str) -> None:
    """Write readings as a server did that took whatever its grammar matched."""
    store = LogFiles(folder, Limits())
    for text in texts:
        store.commit(
            encode_commit([encode_record(head("h", 1, 1) + text.encode(), 1_700_000_000_000_000, NO_PRODUCER, 0)])
        )
    store.close()


def test_illegible_readings_are_counted(tmp_path: Path) -> None:
    """Illegible stored readings are skipped, counted and reported once."""
    keep(tmp_path / "state", "S - U: 1%", "SensorP - Altitude: 5e°C", "S - U: 21.%", "S - U: 2%")
    words = ("sensors", "history", "--json")
    with server(tmp_path) as running:
        for where in (("--state-dir", running.state), ("--port", running.port), ("--port", running.port)):
            process = start_frota(*words, *where, stdout=-1, stderr=-1)
            readings, errors = process.communicate(timeout=TIMEOUT_S)
            assert [json.loads(line)["value"] for line in readings.splitlines()] == [1.0, 2.0]
            assert errors.count(b"\n") == 1
            assert (b"2 readings cannot be read" if where[0] == "--state-dir" else b"2 leituras gravadas") in errors
            assert process.returncode == 0
        assert (
            running.log().count("2 readings cannot be read and are skipped, for example 'SensorP - Altitude: 5e°C'")
            == 1
        )


def test_tail_survives_an_illegible_reading(tmp_path: Path) -> None:
    """A tail goes on behind an illegible stored reading."""
    keep(tmp_path / "state", "S - U: 1%", "SensorP - Altitude: 5e°C")
    with server(tmp_path) as running:
        tail = start_frota("sensors", "tail", "--port", running.port, "--json", stdout=-1, stderr=-1)
        assert tail.stdout
        assert json.loads(tail.stdout.readline())["value"] == 1.0
        running.request(b"S - U: 2%\n")
        assert json.loads(tail.stdout.readline())["value"] == 2.0
        tail.terminate()
        assert tail.communicate(timeout=TIMEOUT_S)[1] == b""


def test_illegible_reading_counts_for_last(tmp_path: Path) -> None:
    """An illegible reading counts towards --last."""
    keep(tmp_path, "S - U: 1%", "S - U: 5e%", "S - U: 2%", "S - U: 3%")
    assert [reading["value"] for reading in history(tmp_path, Query(last=3), lambda _: None)] == [2.0, 3.0]
    assert [reading["value"] for reading in history(tmp_path, Query(last=4), lambda _: None)] == [1.0, 2.0, 3.0]
