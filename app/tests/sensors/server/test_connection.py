"""Connections in one process with their server, packet by packet, with a disk that can be made to wait."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from frota.logs import log
from frota.net.tcp_server import TcpConnection
from frota.sensors.messages import Parts
from frota.sensors.server.server import SensorServer
from support import LINE, READING, RESPONSE, Disk, serving


class Wire(asyncio.Transport):
    """Stands in for a socket; tells of its end only when the test says so."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.sent = b""
        self.reading = True

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.sent += data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def connect(server: SensorServer) -> tuple[TcpConnection, Wire]:
    connection, wire = server.tcp.connection(), Wire()
    connection.connection_made(wire)
    return connection, wire


def end(*connections: TcpConnection) -> None:
    for connection in connections:
        connection.connection_lost(None)


def test_slow_disk_pauses_all_connections(tmp_path: Path, disk: Disk) -> None:
    """While the disk is slow, reading pauses on all connections, new ones included."""

    async def send() -> None:
        async with serving(tmp_path, max_backlog_bytes=65536) as (server, _):
            (connection, wire), (other, others) = connect(server), connect(server)
            disk.may_sync.clear()
            for _ in range(5000):
                if not wire.reading:
                    break
                connection.data_received(READING)
                await asyncio.sleep(0)
            assert server.wal.backlog < 2 * 65536
            assert (wire.reading, others.reading) == (False, False)
            late, lates = connect(server)
            await asyncio.sleep(0)
            assert not lates.reading
            disk.may_sync.set()
            await server.wal.drain()
            assert (wire.reading, others.reading, lates.reading) == (True, True, True)
            end(connection, other, late)

    asyncio.run(send())


def test_replaced_connection_stores_nothing(tmp_path: Path, disk: Disk) -> None:
    """A connection that the same client has replaced stores nothing more."""
    client = uuid4()
    hello = f"frota hello {client}\n".encode()

    async def send() -> None:
        async with serving(tmp_path, max_backlog_bytes=65536) as (server, _):
            disk.may_sync.clear()
            server.wal.append(b"? 0 0 -\n", lambda *_: None, None)  # something for the hello to wait behind
            (older, _), (newer, wire) = connect(server), connect(server)
            older.data_received(hello + LINE)
            newer.data_received(hello)
            disk.may_sync.set()
            await server.wal.drain()
            await server.wal.drain()  # what the first hello would have let through
            newer.data_received(LINE)
            await server.wal.drain()
            assert wire.sent.startswith(b"frota numbered 0\n")
            assert server.wal.last_sequence(client.bytes) == 1
            end(older, newer)

    asyncio.run(send())
    counts = [path.read_bytes().count(READING) for path in tmp_path.glob("*.segment")]
    assert counts == [1]


def test_internal_error_is_confined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An internal error over one reading costs no other connection its answer."""

    async def send() -> None:
        async with serving(tmp_path) as (server, _):
            pairs = [connect(server) for _ in range(5)]
            check = server.monitor.check

            def broken(submitted: Sequence[Parts], now: float) -> list[int]:
                if any(parts[0] == "Poison" for parts in submitted):
                    raise ValueError("a mistake")
                return check(submitted, now)

            monkeypatch.setattr(server.monitor, "check", broken)
            for number, (connection, _) in enumerate(pairs):
                connection.data_received(b"Poison - Umidade: 5%" if number == 2 else READING)
            await asyncio.sleep(0)
            await server.wal.drain()
            responses = [wire.sent for _, wire in pairs]
            assert responses.pop(2) == "Erro: erro interno do servidor, conexão encerrada".encode()
            assert responses == [RESPONSE] * 4
            end(*[connection for connection, _ in pairs])

    log.configure("sensors", "test")
    asyncio.run(send())
    assert sum(path.read_bytes().count(READING) for path in tmp_path.glob("*.segment")) == 4
    assert capfd.readouterr().err.count("ValueError: a mistake") == 2
