"""The server as sensors and operators meet it: a real process, real sockets."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from frota.logs import log
from support import ANSWER, ANSWER_LINE, LINE, PATIENCE, READING, Server, frota, read_exactly, server, serving


def test_an_original_client_gets_the_original_answer_to_each_reading(running: Server) -> None:
    with running.connect() as connection:
        for _ in range(3):
            connection.sendall(READING)
            assert read_exactly(connection, len(ANSWER)) == ANSWER
    first, *_ = running.kept()
    assert (first["text"], first["in_range"]) == (READING.decode(), True)
    assert first["peer"].startswith("127.0.0.1:")


def test_a_reading_split_inside_its_sign_is_one_reading(running: Server) -> None:
    half = READING.index("°".encode()) + 1
    with running.connect() as connection:
        connection.sendall(READING[:half])
        running.wait_for("Conexões ativas: 1")
        connection.sendall(READING[half:])
        assert read_exactly(connection, len(ANSWER)) == ANSWER
    assert [one["text"] for one in running.kept()] == [READING.decode()]


def test_a_newline_after_the_answer_is_answered_with_the_answers_newline(running: Server) -> None:
    with running.connect() as connection:
        connection.sendall(READING)
        assert read_exactly(connection, len(ANSWER)) == ANSWER
        connection.sendall(b"\n" + LINE)
        assert read_exactly(connection, 2 + len(ANSWER)) == b"\n" + ANSWER_LINE
    assert len(running.kept()) == 2


def test_pipelined_readings_are_answered_in_order_with_errors_in_their_places(running: Server) -> None:
    answers = running.ask(LINE * 3 + b"nada\n" + LINE + b"nada\n").decode().splitlines()
    good, bad = ANSWER.decode(), 'Erro: leitura inválida, esperava por exemplo "Sensor1 - Temperatura: 25.34°C"'
    assert answers == [good, good, good, bad, good, bad]
    assert len(running.kept()) == 4


def test_many_original_clients_at_once_each_get_their_own_answers(running: Server) -> None:
    connections = [running.connect() for _ in range(100)]
    for number, connection in enumerate(connections):
        # Some of them make the round that the server takes together an uneven one.
        connection.sendall(b"nonsense\n" if number % 10 == 3 else READING)
    for number, connection in enumerate(connections):
        answer = connection.recv(200)
        assert answer.startswith(b"Erro: ") if number % 10 == 3 else answer == ANSWER
        connection.close()
    assert len(running.kept()) == 90


def test_a_browser_is_told_where_it_is_and_nothing_of_it_is_kept_or_acknowledged(running: Server) -> None:
    answer = running.ask(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").decode()
    assert answer.startswith("Erro: isto não é um servidor HTTP")
    assert ANSWER.decode() not in answer
    assert running.kept() == []


def test_values_out_of_range_are_acknowledged_kept_and_flagged(running: Server) -> None:
    assert running.ask("Sensor1 - Temperatura: 999.0°C".encode()) == ANSWER
    assert running.ask("Sensor1 - Temperatura: 25.0°C\nSensor1 - Temperatura: -99.0°C\n".encode()) == ANSWER_LINE * 2
    assert [one["in_range"] for one in running.kept()] == [False, True, False]
    running.wait_for(r"WARNING .*Fora da faixa")


@pytest.mark.parametrize("unit", ["ºC", "\u02daC", "℃", " °C"])
def test_a_value_out_of_range_is_so_in_any_spelling_of_its_unit_and_kept_as_it_was_sent(
    running: Server, unit: str
) -> None:
    text = f"Sensor1 - Temperatura: 2150{unit}"
    assert running.ask(text.encode()) == ANSWER
    assert running.ask(f"{text}\n".encode()) == ANSWER_LINE
    for one in running.kept():
        assert (one["text"], one["unit"], one["value"], one["in_range"]) == (text, "°C", 2150.0, False)
    running.wait_for(r"WARNING .*Fora da faixa")


def test_an_exponent_in_upper_case_is_one(running: Server) -> None:
    assert running.ask("Sensor1 - Temperatura: 1.0E-5°CSensor1 - Temperatura: 1E5°C".encode()) == ANSWER * 2
    assert [(one["value"], one["unit"], one["in_range"]) for one in running.kept()] == [
        (1e-5, "°C", True),
        (1e5, "°C", False),
    ]


def test_a_sensor_that_falls_silent_is_reported_and_its_return_too(tmp_path: Path) -> None:
    with server(tmp_path, "--stale-after", 0.5) as running:
        running.ask(READING)
        running.wait_for(r"WARNING .*Sensor1: stale, no reading for more than 0.5 s")
        running.ask(READING)
        running.wait_for(r"INFO .*Sensor1: recovered, readings arrive again")


def test_many_made_up_sensors_that_fall_silent_do_not_flood_the_log(tmp_path: Path) -> None:
    with server(tmp_path, "--stale-after", 0.3) as running:
        running.ask(b"".join(b"S%d - Umidade: 5%%\n" % number for number in range(1000)))
        running.wait_for("no reading for more than")
        running.stop()
        assert running.log().count("no reading for more than") <= 60
        assert re.search(r"9\d\d stale or recovered sensors not logged one by one", running.log())


def test_the_log_has_the_texts_of_the_original(running: Server) -> None:
    with running.connect() as connection:
        host, port = connection.getsockname()
        connection.sendall(READING)
        read_exactly(connection, len(ANSWER))
    peer = re.escape(f"('{host}', {port})")
    running.wait_for(f"Nova conexão de {peer}")
    running.wait_for("Conexões ativas: 1")
    running.wait_for(f"Recebido de {peer}: {READING.decode()}")
    running.wait_for(f"Conexão encerrada com {peer}")


def test_readings_beyond_the_logs_budget_are_counted_instead(tmp_path: Path) -> None:
    with server(tmp_path, "--log-readings-per-second", 5) as running:
        running.ask(LINE * 1000)
        running.stop()
        assert running.log().count("Recebido de") <= 10
        assert re.search(r"9\d\d readings not logged one by one", running.log())


def test_settings_that_may_change_live_do_so_on_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("SENSORS_MAX_CONNECTIONS=1\n", encoding="utf-8")
    with server(tmp_path, "--env-file", file) as running, running.connect() as first:
        first.sendall(READING)
        assert read_exactly(first, len(ANSWER)) == ANSWER
        assert "servidor cheio" in running.ask().decode()
        file.write_text("SENSORS_MAX_CONNECTIONS=2\nSENSORS_BACKLOG=7\n", encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("configuration read again")
        assert running.ask(READING) == ANSWER
        assert "SENSORS_BACKLOG has changed, but takes effect only at the next restart" in running.log()
        file.write_text("SENSORS_MAX_CONNECTIONS=many\n", encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("configuration left as it was: SENSORS_MAX_CONNECTIONS='many': must be a whole number")
        assert running.ask(READING) == ANSWER


def test_a_setting_that_is_gone_from_the_env_file_has_its_default_again_after_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text('SENSORS_MAX_CONNECTIONS=1\nSENSORS_RANGES="Umidade:0:10:%"\n', encoding="utf-8")
    # As systemd does it: the settings are in the environment too, by EnvironmentFile=.
    given = {"SENSORS_MAX_CONNECTIONS": "1", "SENSORS_RANGES": "Umidade:0:10:%", "FROTA_ENV_FILE": str(file)}
    with server(tmp_path, env={**os.environ, **given, "SENSORS_MAX_VIEWERS": "0"}) as running:
        with running.connect() as first:
            first.sendall(READING)
            assert read_exactly(first, len(ANSWER)) == ANSWER
            assert "servidor cheio" in running.ask().decode()
            file.write_text("SENSORS_RANGES=Umidade:0:20:%\n", encoding="utf-8")
            running.process.send_signal(signal.SIGHUP)
            running.wait_for("configuration read again")
            assert running.ask(b"Sensor2 - Umidade: 15%Sensor2 - Umidade: 25%") == ANSWER * 2
        assert [one["in_range"] for one in running.kept()] == [True, True, False]
        assert "leitores demais" in running.ask(b"frota history {}\n").decode()  # the environment's own remains


def test_two_servers_do_not_share_a_folder_or_a_port_and_say_so(running: Server, tmp_path: Path) -> None:
    for folder, port, reason in ((running.state, 0, "in use by process"), (tmp_path / "x", running.port, "in use")):
        command = ["sensors", "serve", "--host", "127.0.0.1", "--port", port, "--state-dir", folder]
        other = frota(*command, stderr=-1)
        _, error = other.communicate(timeout=PATIENCE)
        assert other.returncode == 1
        assert reason in error.decode()


@pytest.mark.parametrize("line", [b"frota hello me", b"frota skip 3", b"frota history {", b"frota tail 7"])
def test_a_control_line_that_makes_no_sense_is_answered_with_what_would(running: Server, line: bytes) -> None:
    assert re.search("Erro: .*(espera|vai de)", running.ask(line + b"\n").decode())


def test_a_server_whose_limits_are_no_longer_enforced_is_ill_and_ends_with_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def live() -> None:
        ended = asyncio.get_running_loop().create_future()
        async with serving(tmp_path, ended.set_result) as (one, _):
            assert one.healthy()
            monkeypatch.setattr(one.monitor, "sweep", lambda _: 1 / 0)
            assert await asyncio.wait_for(ended, PATIENCE) == 1
            assert not one.healthy()

    log.configure("sensors", "test")
    asyncio.run(live())
    said = capfd.readouterr().err
    assert re.search(r"CRITICAL .*an essential task failed; the service ends\n", said)
    assert "ZeroDivisionError" in said
