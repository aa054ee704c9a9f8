"""Clients with sequence numbers: the server's last number is durable, and each number is one line."""

import asyncio
import re
from pathlib import Path
from uuid import uuid4

from frota.sensors.client.spool import Spool
from support import LINE, RESPONSE_LINE, Disk, read_all, read_exactly, server, serving, start_frota


def test_second_connection_replaces_the_first(tmp_path: Path) -> None:
    """A client's second connection replaces the first and continues its numbers."""
    hello = b"frota hello %b\n" % str(uuid4()).encode()
    with server(tmp_path) as running, running.connect() as first, running.connect() as second:
        first.sendall(hello + LINE * 2)
        expected = b"frota numbered 0\n" + RESPONSE_LINE * 2
        assert read_exactly(first, len(expected)) == expected
        second.sendall(hello)
        assert read_exactly(second, len(b"frota numbered 2\n")) == b"frota numbered 2\n"
        assert read_all(first) == b""
        second.sendall(b"frota skip 7\n" + LINE)
        assert read_exactly(second, len(RESPONSE_LINE)) == RESPONSE_LINE
    assert [reading["number"] for reading in running.stored_readings()] == [1, 2, 7]
    running.wait_for("the full spool of a sensor's client has dropped 4 readings")


def test_rejected_line_has_a_number(tmp_path: Path) -> None:
    """A rejected line uses up a sequence number."""
    with server(tmp_path) as running:
        running.request(b"frota hello %b\n" % str(uuid4()).encode(), LINE, b"nada\n", LINE)
        assert [reading["number"] for reading in running.stored_readings()] == [1, 3]


def test_numbers_are_bounded(tmp_path: Path) -> None:
    """Above the highest sequence number nothing is stored or acknowledged."""
    hello = b"frota hello %b\n" % str(uuid4()).encode()
    with server(tmp_path) as running:
        beyond = running.request(hello, b"frota skip 1000000000000000000\n", LINE).decode()
        assert beyond.endswith("Erro: skip espera um número acima do último, até 999999999999999999, depois de hello\n")
        last = running.request(hello, b"frota skip 999999999999999998\n", LINE * 2)
        assert last == b"frota numbered 0\n" + RESPONSE_LINE * 2
        refused = "Erro: não há número acima de 999999999999999999, comece de novo com outro UUID\n"
        assert running.request(hello, LINE, LINE * 2).decode() == f"frota numbered 999999999999999999\n{refused}"
        assert [reading["number"] for reading in running.stored_readings()] == [10**18 - 2, 10**18 - 1]


def test_client_without_numbers_keeps_its_spool(tmp_path: Path) -> None:
    """A client without numbers left logs the server's reason and keeps its readings."""
    spool = Spool(tmp_path / "client", 9)
    hello = b"frota hello %b\n" % spool.client.encode()
    spool.continue_after(10**18 - 1)
    spool.append("Sensor1 - Umidade: 5%")
    spool.close()
    with server(tmp_path) as running:
        running.request(hello, b"frota skip 999999999999999999\n", LINE)
        where = ("--port", running.port, "--state-dir", tmp_path / "client", "--protocol", "native", "--count", 1)
        with start_frota("sensors", "simulate", "humidity", *where, stderr=-1) as client:
            assert client.stderr
            errors = iter(client.stderr.readline, b"")
            text = "não há número acima de 999999999999999999, comece de novo com outro UUID; [12] readings wait"
            assert any(re.search(text, line.decode()) for line in errors)
            client.terminate()
        assert len(running.stored_readings()) == 1


def test_hello_waits_for_earlier_readings(tmp_path: Path, disk: Disk) -> None:
    """A hello is answered once everything that the client sent before is on disk."""
    hello = b"frota hello %b\n" % str(uuid4()).encode()

    async def scenario() -> None:
        async with serving(tmp_path) as (_, port):
            first_reader, first = await asyncio.open_connection("127.0.0.1", port)
            first.write(hello)
            assert await first_reader.readline() == b"frota numbered 0\n"
            disk.may_sync.clear()
            first.write(LINE * 3)
            assert await asyncio.to_thread(disk.syncing.wait, 10)
            second_reader, second = await asyncio.open_connection("127.0.0.1", port)
            second.write(hello + LINE)
            assert await first_reader.read() == b""  # replaced, though its readings still wait for the disk
            disk.may_sync.set()
            assert await second_reader.readline() == b"frota numbered 3\n"
            assert await second_reader.readline() == RESPONSE_LINE
            for writer in (first, second):
                writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
