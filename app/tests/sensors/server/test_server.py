"""The sensors' server as a process, over real sockets."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from frota.logs import log
from support import (
    LINE,
    READING,
    RESPONSE,
    RESPONSE_LINE,
    TIMEOUT_S,
    Server,
    read_exactly,
    server,
    serving,
    start_frota,
)


def test_legacy_client_gets_legacy_answers(running: Server) -> None:
    """A legacy client gets the legacy answer to each reading."""
    with running.connect() as connection:
        for _ in range(3):
            connection.sendall(READING)
            assert read_exactly(connection, len(RESPONSE)) == RESPONSE
    first, *_ = running.stored_readings()
    assert (first["text"], first["in_range"]) == (READING.decode(), True)
    assert first["peer"].startswith("127.0.0.1:")


def test_reading_split_inside_a_character(running: Server) -> None:
    """A reading split inside its degree sign is one reading."""
    half = READING.index("°".encode()) + 1
    with running.connect() as connection:
        connection.sendall(READING[:half])
        running.wait_for("Conexões ativas: 1")
        connection.sendall(READING[half:])
        assert read_exactly(connection, len(RESPONSE)) == RESPONSE
    assert [reading["text"] for reading in running.stored_readings()] == [READING.decode()]


def test_late_newline_ends_the_answer(running: Server) -> None:
    """A newline after the answer is answered with the answer's newline."""
    with running.connect() as connection:
        connection.sendall(READING)
        assert read_exactly(connection, len(RESPONSE)) == RESPONSE
        connection.sendall(b"\n" + LINE)
        assert read_exactly(connection, 2 + len(RESPONSE)) == b"\n" + RESPONSE_LINE
    assert len(running.stored_readings()) == 2


def test_pipelined_answers_are_in_order(running: Server) -> None:
    """Pipelined readings are answered in order, errors in their places."""
    responses = running.request(LINE * 3 + b"nada\n" + LINE + b"nada\n").decode().splitlines()
    good, bad = RESPONSE.decode(), 'Erro: leitura inválida, esperava por exemplo "Sensor1 - Temperatura: 25.34°C"'
    assert responses == [good, good, good, bad, good, bad]
    assert len(running.stored_readings()) == 4


def test_many_legacy_clients_at_once(running: Server) -> None:
    """Each of many clients in one batch gets its own answer."""
    connections = [running.connect() for _ in range(100)]
    for number, connection in enumerate(connections):
        # Some of them make the round that the server takes together an uneven one.
        connection.sendall(b"nonsense\n" if number % 10 == 3 else READING)
    for number, connection in enumerate(connections):
        answer = connection.recv(200)
        assert answer.startswith(b"Erro: ") if number % 10 == 3 else answer == RESPONSE
        connection.close()
    assert len(running.stored_readings()) == 90


def test_http_request_is_rejected(running: Server) -> None:
    """An HTTP request is told what listens here, and nothing of it is stored."""
    answer = running.request(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").decode()
    assert answer.startswith("Erro: isto não é um servidor HTTP")
    assert RESPONSE.decode() not in answer
    assert running.stored_readings() == []


def test_out_of_range_values_are_flagged(running: Server) -> None:
    """Values out of range are acknowledged, stored and flagged."""
    assert running.request("Sensor1 - Temperatura: 999.0°C".encode()) == RESPONSE
    assert (
        running.request("Sensor1 - Temperatura: 25.0°C\nSensor1 - Temperatura: -99.0°C\n".encode()) == RESPONSE_LINE * 2
    )
    assert [reading["in_range"] for reading in running.stored_readings()] == [False, True, False]
    running.wait_for(r"WARNING .*Fora da faixa")


@pytest.mark.parametrize("unit", ["ºC", "\u02daC", "℃", " °C"])
def test_range_applies_to_any_unit_spelling(running: Server, unit: str) -> None:
    """A range applies to every spelling of its unit; the text is stored as sent."""
    text = f"Sensor1 - Temperatura: 2150{unit}"
    assert running.request(text.encode()) == RESPONSE
    assert running.request(f"{text}\n".encode()) == RESPONSE_LINE
    for reading in running.stored_readings():
        assert (reading["text"], reading["unit"], reading["value"], reading["in_range"]) == (text, "°C", 2150.0, False)
    running.wait_for(r"WARNING .*Fora da faixa")


def test_exponent_in_upper_case(running: Server) -> None:
    """An upper-case exponent is read."""
    assert running.request("Sensor1 - Temperatura: 1.0E-5°CSensor1 - Temperatura: 1E5°C".encode()) == RESPONSE * 2
    assert [(reading["value"], reading["unit"], reading["in_range"]) for reading in running.stored_readings()] == [
        (1e-5, "°C", True),
        (1e5, "°C", False),
    ]


def test_stale_sensor_is_logged(tmp_path: Path) -> None:
    """A stale sensor is logged, and its recovery, too."""
    with server(tmp_path, "--stale-after", 0.5) as running:
        running.request(READING)
        running.wait_for(r"WARNING .*Sensor1: stale, no reading for more than 0.5 s")
        running.request(READING)
        assert running.wait_for(r"INFO .*Sensor1: recovered, readings arrive again")


def test_stale_sensors_are_rate_limited(tmp_path: Path) -> None:
    """Many stale sensors do not flood the log."""
    with server(tmp_path, "--stale-after", 0.3) as running:
        running.request(b"".join(b"S%d - Umidade: 5%%\n" % number for number in range(1000)))
        running.wait_for("no reading for more than")
        running.stop()
        assert running.log().count("no reading for more than") <= 60
        assert re.search(r"9\d\d stale or recovered sensors suppressed by the log", running.log())


def test_log_has_the_legacy_texts(running: Server) -> None:
    """The log has the texts of the legacy server."""
    with running.connect() as connection:
        host, port = connection.getsockname()
        connection.sendall(READING)
        read_exactly(connection, len(RESPONSE))
    peer = re.escape(f"('{host}', {port})")
    running.wait_for(f"Conexão encerrada com {peer}")
    match = re.search(
        rf"Nova conexão de {peer}.*Conexões ativas: 1.*Recebido de {peer}: {READING.decode()}", running.log(), re.DOTALL
    )
    assert match, running.log()


def test_logged_readings_are_rate_limited(tmp_path: Path) -> None:
    """Readings above the log's rate limit are counted instead."""
    with server(tmp_path, "--log-readings-per-second", 5) as running:
        running.request(LINE * 1000)
        running.stop()
        assert running.log().count("Recebido de") <= 10
        assert re.search(r"9\d\d readings suppressed by the log", running.log())


def test_reload_applies_live_settings(tmp_path: Path) -> None:
    """SIGHUP applies live settings, names those that need a restart, and rejects invalid ones."""
    file = tmp_path / "env"
    file.write_text("SENSORS_MAX_CONNECTIONS=1\n", encoding="utf-8")
    with server(tmp_path, "--env-file", file) as running, running.connect() as first:
        first.sendall(READING)
        assert read_exactly(first, len(RESPONSE)) == RESPONSE
        assert "servidor cheio" in running.request().decode()
        file.write_text("SENSORS_MAX_CONNECTIONS=2\nSENSORS_BACKLOG=7\n", encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("configuration reloaded")
        assert running.request(READING) == RESPONSE
        assert "SENSORS_BACKLOG has changed; it takes effect at the next restart" in running.log()
        file.write_text("SENSORS_MAX_CONNECTIONS=many\n", encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("configuration unchanged: SENSORS_MAX_CONNECTIONS='many': must be a whole number")
        assert running.request(READING) == RESPONSE


def test_reload_restores_defaults(tmp_path: Path) -> None:
    """A setting that is gone from the env file has its default again after SIGHUP."""
    file = tmp_path / "env"
    file.write_text('SENSORS_MAX_CONNECTIONS=1\nSENSORS_RANGES="Umidade:0:10:%"\n', encoding="utf-8")
    # As systemd does it: the settings are in the environment too, by EnvironmentFile=.
    environ = {"SENSORS_MAX_CONNECTIONS": "1", "SENSORS_RANGES": "Umidade:0:10:%", "FROTA_ENV_FILE": str(file)}
    with server(tmp_path, env={**os.environ, **environ, "SENSORS_MAX_VIEWERS": "0"}) as running:
        with running.connect() as first:
            first.sendall(READING)
            assert read_exactly(first, len(RESPONSE)) == RESPONSE
            assert "servidor cheio" in running.request().decode()
            file.write_text("SENSORS_RANGES=Umidade:0:20:%\n", encoding="utf-8")
            running.process.send_signal(signal.SIGHUP)
            running.wait_for("configuration reloaded")
            assert running.request(b"Sensor2 - Umidade: 15%Sensor2 - Umidade: 25%") == RESPONSE * 2
        assert [reading["in_range"] for reading in running.stored_readings()] == [True, True, False]
        assert "leitores demais" in running.request(b"frota history {}\n").decode()  # the environment's own remains


def test_folder_and_port_belong_to_one_server(running: Server, tmp_path: Path) -> None:
    """A second server on the same folder or port says so and exits with status 1."""
    for folder, port, reason in ((running.state, 0, "in use by process"), (tmp_path / "x", running.port, "in use")):
        command = ["sensors", "serve", "--host", "127.0.0.1", "--port", port, "--state-dir", folder]
        other = start_frota(*command, stderr=-1)
        _, error = other.communicate(timeout=TIMEOUT_S)
        assert other.returncode == 1
        assert reason in error.decode()


@pytest.mark.parametrize("line", [b"frota hello me", b"frota skip 3", b"frota history {", b"frota tail 7"])
def test_invalid_control_line_is_explained(running: Server, line: bytes) -> None:
    """An invalid control line is answered with what would be right."""
    assert re.search("Erro: .*(espera|vai de)", running.request(line + b"\n").decode())


def test_failed_sweep_ends_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server whose sweep fails is unhealthy and ends with a record."""

    async def live() -> None:
        ended = asyncio.get_running_loop().create_future()
        async with serving(tmp_path, ended.set_result) as (sensor_server, _):
            assert sensor_server.healthy()
            monkeypatch.setattr(sensor_server.monitor, "sweep", lambda _: 1 / 0)
            assert await asyncio.wait_for(ended, TIMEOUT_S) == 1
            assert not sensor_server.healthy()

    log.configure("sensors", "test")
    asyncio.run(live())
    errors = capfd.readouterr().err
    assert re.search(r"CRITICAL .*an essential task failed; the service ends\n", errors)
    assert "ZeroDivisionError" in errors
