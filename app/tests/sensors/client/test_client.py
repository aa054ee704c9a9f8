"""The client with native and legacy servers."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from frota.logs import log
from frota.sensors.client import delivery
from frota.sensors.client.client import SensorClient
from frota.sensors.client.spool import Spool
from frota.sensors.settings import ClientSettings
from support import RESPONSE, TIMEOUT_S, server, start_frota


class LegacyServer(threading.Thread):
    """A legacy server: whatever one recv returns is a reading, and the answer has no newline."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.received: list[str] = []
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(1024):
                    self.received.append(data.decode())
                    connection.sendall(RESPONSE)


@pytest.fixture
def legacy_server() -> Iterator[LegacyServer]:
    started = LegacyServer()
    yield started
    started.listener.close()


def simulate(folder: Path, port: int, *flags: object, kind: str = "temperature") -> tuple[int, str]:
    """Run a client to its end; return its status and its log."""
    flags = ("--port", port, "--state-dir", folder / kind, "--interval", 0.01, "--max-backoff", 0.05, *flags)
    process = start_frota("sensors", "simulate", kind, *flags, stderr=-1)
    _, log = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, log.decode()


def test_legacy_server_is_recognised(tmp_path: Path, legacy_server: LegacyServer) -> None:
    """A legacy server is recognised and gets one reading at a time, without newlines."""
    status, log = simulate(tmp_path, legacy_server.port, "--count", 5)
    assert status == 0
    assert legacy_server.received[0].endswith("°C\n")
    assert all(re.fullmatch(r"Sensor1 - Temperatura: 2\d\.\d{1,2}°C", text) for text in legacy_server.received[1:])
    assert len(legacy_server.received) == 5
    for text in ("Conectado ao servidor.", f"Enviado: {legacy_server.received[1]}", f"Resposta: {RESPONSE.decode()}"):
        assert text in log


def test_legacy_protocol_sends_no_newline(tmp_path: Path, legacy_server: LegacyServer) -> None:
    """With SENSORS_PROTOCOL=original the client never sends a newline."""
    status, _ = simulate(tmp_path, legacy_server.port, "--count", 3, "--protocol", "original", kind="humidity")
    assert status == 0
    assert len(legacy_server.received) == 3
    assert all(re.fullmatch(r"Sensor2 - Umidade: [4-7]\d\.\d{1,2}%", text) for text in legacy_server.received)


def test_native_server_is_remembered(tmp_path: Path) -> None:
    """A native server is recognised by its first answer, and greeted at once the next time."""
    with server(tmp_path) as running:
        assert simulate(tmp_path, running.port, "--count", 3)[0] == 0
        assert simulate(tmp_path, running.port, "--count", 2)[0] == 0
        assert [reading.get("number") for reading in running.stored_readings()] == [None, 2, 3, 4, 5]


def test_server_that_became_legacy_is_noticed(tmp_path: Path, legacy_server: LegacyServer) -> None:
    """A client that knows a native server notices when a legacy one answers."""
    with server(tmp_path) as running:
        assert simulate(tmp_path, running.port, "--count", 1)[0] == 0
    assert simulate(tmp_path, legacy_server.port, "--count", 2)[0] == 0
    assert [text for text in legacy_server.received if text.startswith("Sensor1")] == legacy_server.received[1:]


def test_custom_kind(tmp_path: Path) -> None:
    """A kind that is not built in is described by settings alone."""
    own = ("--sensor", "Pátio 2", "--label", "Pressão", "--unit", "hPa", "--low", 990, "--high", 1030)
    with server(tmp_path) as running:
        assert simulate(tmp_path, running.port, "--count", 2, *own, kind="pressure")[0] == 0
        (first, _) = running.stored_readings()
        assert (first["sensor"], first["kind"], first["unit"]) == ("Pátio 2", "Pressão", "hPa")
        assert 990 <= first["value"] <= 1030


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((), "SENSORS_SENSOR is not set"),
        (("--sensor", "S", "--label", "L", "--unit", "5"), "would not be a valid reading"),
        (("--sensor", "S", "--label", "L", "--unit", "m", "--low", 2, "--high", 1), "must not be above SENSORS_HIGH"),
    ],
)
def test_invalid_kind_is_rejected(tmp_path: Path, flags: tuple[object, ...], reason: str) -> None:
    """Settings that make no valid reading are rejected with the reason."""
    status, log = simulate(tmp_path, 1, *flags, kind="other")
    assert status == 78
    assert reason in log


def test_folder_belongs_to_one_client(tmp_path: Path, legacy_server: LegacyServer) -> None:
    """A second client on the same state folder is rejected."""
    first = start_frota(
        "sensors", "simulate", "humidity", "--port", legacy_server.port, "--state-dir", tmp_path, stderr=-1
    )
    assert first.stderr
    assert first.stderr.readline()
    second = start_frota(
        "sensors", "simulate", "humidity", "--port", legacy_server.port, "--state-dir", tmp_path, stderr=-1
    )
    assert b"in use by process" in second.communicate(timeout=TIMEOUT_S)[1]
    assert second.returncode == 1
    first.terminate()
    first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 0


def test_oversized_answer_is_rejected(tmp_path: Path) -> None:
    """An answer above the limit ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flags = (
            "--port",
            listener.getsockname()[1],
            "--state-dir",
            tmp_path,
            "--response-timeout",
            3600,
            "--max-backoff",
            0.01,
        )
        process = start_frota("sensors", "simulate", "temperature", *flags, stderr=-1)
        listener.settimeout(TIMEOUT_S)
        for _ in range(2):  # the second: it has given the first one up
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(TIMEOUT_S)
                connection.sendall(b"x" * 4096)
                while connection.recv(1024):
                    pass
        process.terminate()
        _, log = process.communicate(timeout=TIMEOUT_S)
    assert b"readings wait" in log


def test_count_is_reached_after_a_lost_answer(tmp_path: Path) -> None:
    """--count is reached although the last answer was lost."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flags = ("--port", listener.getsockname()[1], "--state-dir", tmp_path, "--count", 1, "--protocol", "native")
        process = start_frota("sensors", "simulate", "temperature", *flags, stderr=-1)
        listener.settimeout(TIMEOUT_S)
        for stored in range(2):
            connection, _ = listener.accept()
            connection.settimeout(TIMEOUT_S)
            with connection, connection.makefile("rb") as lines:
                assert lines.readline().startswith(b"frota hello ")
                connection.sendall(b"frota numbered %d\n" % stored)
                lines.readline()  # the reading, once; the second time the client's end
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0


def test_full_server_is_still_native(tmp_path: Path) -> None:
    """A native server that rejects a connection is not taken for a legacy one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flags = ("--port", listener.getsockname()[1], "--state-dir", tmp_path, "--count", 2, "--interval", 0.01)
        process = start_frota("sensors", "simulate", "temperature", *flags, "--protocol", "auto", stderr=-1)
        listener.settimeout(TIMEOUT_S)
        first, _ = listener.accept()
        with first, first.makefile("rb") as lines:
            assert lines.readline().startswith(b"Sensor1")
            first.sendall(RESPONSE + b"\n")
            assert lines.readline().startswith(b"frota hello ")
            first.sendall("Erro: servidor cheio, conexões demais, tente mais tarde\n".encode())
        second, _ = listener.accept()
        with second, second.makefile("rb") as lines:
            assert lines.readline().startswith(b"frota hello ")
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


@pytest.mark.parametrize("protocol", ["original", "auto"])
@pytest.mark.parametrize("words", ["Erro: disco cheio, leitura não gravada, tente mais tarde", "Tente depois."])
def test_error_without_newline_is_retried(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], protocol: str, words: str
) -> None:
    """An error without a newline is logged, and the reading is sent again."""
    responses, received = [words.encode(), RESPONSE], []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1024))
        writer.write(responses.pop(0))
        await reader.read()
        writer.close()

    async def deliver() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        config = ClientSettings(
            host, port, protocol, None, "S", "L", "°C", interval=3600, count=1, response_timeout=3600, max_backoff=0.01
        )
        ended = asyncio.get_running_loop().create_future()
        client = SensorClient(config, tmp_path, ended.set_result)
        await client.start()
        assert await asyncio.wait_for(ended, TIMEOUT_S) == 0
        await client.stop()
        server.close()

    log.configure("sensors", "test")
    asyncio.run(deliver())
    assert received[0] == received[1]
    assert f"Resposta: {words}\n" in capfd.readouterr().err


def test_answer_in_two_packets(tmp_path: Path) -> None:
    """An answer in two packets with a pause between them is one answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil("°C".encode())
        writer.write(RESPONSE[:9])
        more = asyncio.create_task(reader.read(1))
        await asyncio.wait((more,), timeout=0.3)  # many times the client's grace
        writer.write(RESPONSE[9:])
        await more
        writer.close()

    async def deliver() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        config = ClientSettings(host, port, "original", sensor="S", label="L", unit="°C", response_timeout=TIMEOUT_S)
        spool, delivered = Spool(tmp_path, 9), asyncio.Event()
        spool.append("S - L: 5°C")
        delivering = asyncio.create_task(delivery.Delivery(config, spool, asyncio.Event(), delivered.set, 0.01).run())
        done = asyncio.create_task(delivered.wait())
        await asyncio.wait((delivering, done), return_when=asyncio.FIRST_COMPLETED, timeout=TIMEOUT_S)
        assert not delivering.done()
        assert spool.waiting == 0
        delivering.cancel()
        await asyncio.wait((delivering,))
        server.close()
        spool.close()

    asyncio.run(deliver())
