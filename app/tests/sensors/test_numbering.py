"""Numbered clients: what the server says it has is what it has, and each number means one line."""

import asyncio
from pathlib import Path
from uuid import uuid4

from frota.sensors.server import SensorServer
from frota.sensors.settings import ServerSettings
from support import ANSWER, READING, Disk, read_all, read_exactly, server

LINE, ANSWER_LINE = READING + b"\n", ANSWER + b"\n"


def test_a_second_connection_of_a_numbered_client_replaces_the_first(tmp_path: Path) -> None:
    hello = b"frota hello %b\n" % str(uuid4()).encode()
    with server(tmp_path) as running, running.connect() as first, running.connect() as second:
        first.sendall(hello + LINE * 2)
        expected = b"frota numbered 0\n" + ANSWER_LINE * 2
        assert read_exactly(first, len(expected)) == expected
        second.sendall(hello)
        assert read_exactly(second, len(b"frota numbered 2\n")) == b"frota numbered 2\n"
        assert read_all(first) == b""
        second.sendall(b"frota skip 7\n" + LINE)
        assert read_exactly(second, len(ANSWER_LINE)) == ANSWER_LINE
    assert [one["number"] for one in running.kept()] == [1, 2, 7]
    running.wait_for("4 readings were dropped by the sensor's full spool")


def test_a_line_that_is_refused_has_a_number_all_the_same(tmp_path: Path) -> None:
    with server(tmp_path) as running:
        running.ask(b"frota hello %b\n" % str(uuid4()).encode(), LINE, b"nada\n", LINE)
        assert [one["number"] for one in running.kept()] == [1, 3]


def test_a_client_that_comes_back_hears_its_last_number_only_when_all_it_had_sent_is_on_disk(
    tmp_path: Path, disk: Disk
) -> None:
    hello = b"frota hello %b\n" % str(uuid4()).encode()

    async def scenario() -> None:
        config = ServerSettings(host="127.0.0.1", port=0, state_dir=tmp_path)
        one = SensorServer(config, lambda: config, lambda _: None)
        port = int((await one.start()).rpartition(":")[2])
        first_reader, first = await asyncio.open_connection("127.0.0.1", port)
        first.write(hello)
        assert await first_reader.readline() == b"frota numbered 0\n"
        disk.go.clear()
        first.write(LINE * 3)
        assert await asyncio.to_thread(disk.syncing.wait, 10)
        second_reader, second = await asyncio.open_connection("127.0.0.1", port)
        second.write(hello + LINE)
        assert await first_reader.read() == b""  # replaced, though its readings still wait for the disk
        disk.go.set()
        assert await second_reader.readline() == b"frota numbered 3\n"
        assert await second_reader.readline() == ANSWER_LINE
        for writer in (first, second):
            writer.close()
        await one.stop()

    asyncio.run(asyncio.wait_for(scenario(), 20))
