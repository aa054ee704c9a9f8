"""Untrusted input and a failing machine: bounded, rejected with a reason, and other clients are served."""

import re
import resource
import signal
import socket
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from frota.storage.wal import segment
from support import (
    LINE,
    READING,
    RESPONSE,
    RESPONSE_LINE,
    TIMEOUT_S,
    Server,
    read_all,
    read_exactly,
    server,
    start_frota,
)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", bytes(range(128, 256)) * 8, b"\x16\x03\x01\x02\x00\x01\xfc"])
def test_binary_input_is_rejected(running: Server, data: bytes) -> None:
    """Binary input gets an error and is never acknowledged."""
    answer = running.request(data, b"\n", LINE)
    assert not answer.startswith(RESPONSE)
    assert running.request(READING) == RESPONSE


def test_endless_line_costs_no_memory(tmp_path: Path) -> None:
    """A line without an end is rejected at the limit and not buffered."""
    with server(tmp_path, fresh=True) as running:
        before = running.rss_kib()
        with running.connect() as connection:
            try:
                for _ in range(3 * 16):
                    connection.sendall(b"x" * 65536)
            except ConnectionError:
                pass
            assert "longa demais" in read_all(connection).decode()
        assert running.rss_kib() - before < 8 * 1024
        assert running.request(READING) == RESPONSE


def test_incomplete_reading_times_out(tmp_path: Path) -> None:
    """A reading whose rest does not arrive is rejected after the timeout."""
    with server(tmp_path, "--incomplete-timeout", 0.2) as running, running.connect() as connection:
        connection.sendall(READING[:10])
        assert "leitura incompleta" in read_all(connection).decode()


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        ("Sensor1 - Temperatura: 21,5°C", "o separador decimal é o ponto, não a vírgula"),
        ("Sensor1 - Temperatura: 0x1A°C", 'só números decimais, não "0x1A°C"'),
        ("Sensor1 - Temperatura: nan°C", "não é um número finito"),
        ("Sensor1 - Temperatura: 5e°C", "expoente sem algarismos"),
        ("Sensor1 - Temp=: 5°C", 'a grandeza não pode ter "="'),
        ("Sen\x07sor1 - Temperatura: 5°C", "U+0007"),
        ("[info] Sensor1 - Temperatura: 5°C", "leitura inválida"),
    ],
)
def test_invalid_reading_is_rejected_at_once(tmp_path: Path, reading: str, reason: str) -> None:
    """Input that can become no reading is rejected at once, with the cause, and the connection goes on."""
    with server(tmp_path, "--incomplete-timeout", 3600) as running, running.connect() as connection:
        connection.sendall(reading.encode())
        assert reason in connection.recv(1000).decode()  # or the test would wait for ever
        connection.sendall(READING)
        assert read_exactly(connection, len(RESPONSE)) == RESPONSE
        assert len(running.stored_readings()) == 1


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        ("Sensor1 - Temperatura: 21.5C", 'a unidade "C" só vale com uma nova linha no fim; "°C"?'),
        ("Aquario - pH: 7.2", "falta a unidade"),
        ("Patio - Pressao: 1013hPa", 'a unidade "hPa" só vale'),
    ],
)
def test_missing_newline_is_named(tmp_path: Path, reading: str, reason: str) -> None:
    """A reading that only a newline would complete is rejected with that reason."""
    with server(tmp_path, "--incomplete-timeout", 0.2) as running:
        with running.connect() as connection:
            connection.sendall(reading.encode())
            assert reason in read_all(connection).decode()
        assert reason in running.request(reading.encode()).decode()
        assert running.request(f"{reading}\n".encode()) == RESPONSE_LINE


def test_too_many_invalid_readings_end_it(tmp_path: Path) -> None:
    """Too many invalid readings without newlines end the connection."""
    with server(tmp_path, "--max-errors", 2) as running, running.connect() as connection:
        for _ in range(2):
            connection.sendall(b"S - U: 1,5%")
            assert b"Erro: leitura inv" in connection.recv(1000)
        connection.sendall(b"S - U: 1,5%")
        assert "linhas inválidas demais" in read_all(connection).decode()


def test_half_a_reading_at_the_end_is_rejected(running: Server) -> None:
    """Half a reading at the end of a connection is not stored."""
    assert "leitura incompleta" in running.request(READING[:10]).decode()
    incomplete = "Erro: leitura incompleta, o resto não chegou a tempo\n".encode()
    assert running.request(LINE + READING) == RESPONSE_LINE + incomplete
    assert len(running.stored_readings()) == 1


def test_too_many_invalid_lines_end_it(tmp_path: Path) -> None:
    """Too many invalid lines end the connection with the reason."""
    with server(tmp_path, "--max-errors", 2) as running:
        lines = running.request(b"nada\n" * 9 + LINE).decode().splitlines()
        assert len(lines) == 4
        assert lines[3].startswith("Erro: linhas inválidas demais")
        assert running.stored_readings() == []


def test_idle_connection_is_closed(tmp_path: Path) -> None:
    """An idle connection is closed and makes room for another."""
    with server(tmp_path, "--idle-timeout", 0.2, "--max-connections", 1) as running:
        with running.connect() as connection:
            assert read_all(connection) == b""
        running.wait_for("Conexão encerrada com")
        assert running.request(READING) == RESPONSE


def test_5000_connections(tmp_path: Path) -> None:
    """Of 5000 connections 1000 are served, and the others are told why not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8000, hard), hard))
    with server(tmp_path, fresh=True) as running:
        served = [running.connect() for _ in range(1000)]
        for connection in served:
            connection.sendall(READING)
        for _ in range(8):
            refused = [running.connect() for _ in range(500)]
            for connection in refused:
                assert read_all(connection).decode().startswith("Erro: servidor cheio")
                connection.close()
        for connection in served:
            assert read_exactly(connection, len(RESPONSE)) == RESPONSE
        assert running.rss_kib() < 60 * 1024
        for connection in served:
            connection.close()
        assert len(running.stored_readings()) == 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connection_flood_spares_the_wal(tmp_path: Path) -> None:
    """A flood of connections leaves descriptors for the WAL's new segments."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))

    flags = ("--max-connections", 100, "--segment-bytes", 4096)
    with server(tmp_path, *flags, preexec_fn=few) as running, running.connect() as sensor:
        flood = [running.connect() for _ in range(300)]
        for _ in range(100):  # each with enough for the log to want a new file
            sensor.sendall(LINE * 200)
            assert read_exactly(sensor, 200 * len(RESPONSE_LINE)) == RESPONSE_LINE * 200
        for connection in flood:
            connection.close()
        assert running.wait_for("the limit of 150 open files is too low for 100 connections")
        assert len(running.stored_readings()) == 20_000


def test_peer_that_never_reads_is_aborted(tmp_path: Path) -> None:
    """A peer that never reads its answers is paused, then disconnected."""
    flags = ("--unread-timeout", 0.5, "--log-readings-per-second", 0, "--max-backlog-bytes", 2**20)
    with server(tmp_path, *flags, fresh=True) as running, running.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before, sent = running.rss_kib(), 0
        with suppress(ConnectionError):
            while sent < 2**28:
                sent += connection.send(LINE * 2000)
        assert sent < 2**28
        assert running.rss_kib() - before < 20 * 1024
        assert running.request(READING) == RESPONSE


def test_full_disk_rejects_readings(tmp_path: Path) -> None:
    """On a full disk readings are rejected; they are accepted again when there is room."""
    flags = ("--segment-bytes", 2**20, "--log-readings-per-second", 0)
    with server(tmp_path, *flags) as running, running.connect() as connection:
        connection.sendall(LINE * 500)  # more than the server's log, which is under the same limit in this test
        assert read_exactly(connection, 500 * len(RESPONSE_LINE)) == RESPONSE_LINE * 500
        size = max(path.stat().st_size for path in running.state.iterdir())
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
        connection.sendall(LINE * 2)
        full = "Erro: disco cheio, leitura não gravada, tente mais tarde\n".encode()
        assert read_exactly(connection, 2 * len(full)) == full * 2
        assert len(running.stored_readings()) == 500
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        connection.sendall(LINE)
        assert read_exactly(connection, len(RESPONSE_LINE)) == RESPONSE_LINE
        assert len(running.stored_readings()) == 501
        assert re.search(r"ERROR .*disco cheio", running.log())


def test_expired_segments_are_deleted(tmp_path: Path) -> None:
    """Segments older than SENSORS_RETENTION_DAYS are deleted, with a record each."""
    with server(tmp_path, "--segment-bytes", 4096, "--retention-days", 1e-5) as running:
        while "00000001.segment: deleted, " not in running.log():
            assert running.request(LINE * 100) == RESPONSE_LINE * 100
        assert re.search(r"INFO .*00000001\.segment: deleted, \d+ bytes written .*the log was open for", running.log())
        assert not segment.path_of(running.state, 1).exists()
        assert running.stored_readings()


def test_full_disk_disconnects_numbered_clients(tmp_path: Path) -> None:
    """A full disk disconnects a client with sequence numbers, so that none is skipped."""
    client = str(uuid4()).encode()
    with server(tmp_path, "--segment-bytes", 2**20) as running:
        assert running.request(b"frota hello %b\n" % client, LINE * 2) == b"frota numbered 0\n" + RESPONSE_LINE * 2
        size = max(path.stat().st_size for path in running.state.iterdir())
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        with running.connect() as connection:
            connection.sendall(b"frota hello %b\n" % client + LINE * 50)
            answer = read_all(connection)  # to the end, which is the server's doing
        assert answer.startswith(b"frota numbered 2\nErro: disco cheio")
        assert RESPONSE not in answer
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert running.request(b"frota hello %b\n" % client, LINE) == b"frota numbered 2\n" + RESPONSE_LINE
        assert [reading["number"] for reading in running.stored_readings()] == [1, 2, 3]


def test_blocked_journal_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that accepts nothing does not stop the server."""
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        monkeypatch.setenv("FROTA_JOURNAL_SOCKET", path)
        process = start_frota("sensors", "serve", "--host", "127.0.0.1", "--port", 0, "--state-dir", tmp_path / "state")
        started = journal.recv(65536).decode()
        port = int(re.search(r"ADDRESS=127.0.0.1:(\d+)", started)[1])  # type: ignore[index]
        # From here on nobody reads the journal, and it is soon full.
        for _ in range(40):
            with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
                connection.sendall(LINE * 20)
                assert read_exactly(connection, 20 * len(RESPONSE_LINE)) == RESPONSE_LINE * 20
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_input_cannot_forge_log_lines(running: Server) -> None:
    """Control characters in untrusted input do not reach the log."""
    running.request(b"x\x1b[2J\r2026-01-01 00:00:00.000 CRITICAL forged\n")
    running.wait_for("Erro com")
    assert "\x1b" not in running.log()
    assert not re.search(r"^\S+ \S+ CRITICAL", running.log(), re.MULTILINE)
