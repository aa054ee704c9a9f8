"""Kills and stops: no acknowledged reading is lost, and those of a native client are stored exactly once."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from support import RESPONSE, TIMEOUT_S, Server, reserved_port, start_frota


class Load(threading.Thread):
    """A legacy client whose readings all differ; `acknowledged` are those with an answer."""

    def __init__(self, name: int, port: int, resend: bool = False) -> None:
        super().__init__(daemon=True)
        self.client, self.port, self.again = name, port, resend
        self.acknowledged: list[str] = []
        self.refused = 0
        self.enough, self.stop = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S) as connection:
                    self.talk(connection)
            except ConnectionRefusedError:
                self.refused += 1
            except OSError:
                pass
            if not self.again:
                return

    def talk(self, connection: socket.socket) -> None:
        while not self.stop.is_set():
            text = f"Load{self.client} - Umidade: {uuid4().int % 10**17}%"
            connection.sendall(text.encode())
            if connection.recv(100) != RESPONSE:
                return
            self.acknowledged.append(text)
            if len(self.acknowledged) % 100 == 0:
                self.enough.set()


def under_load(server: Server) -> list[Load]:
    loads = [Load(number, server.port) for number in range(8)]
    for load in loads:
        assert load.enough.wait(TIMEOUT_S)
    return loads


def assert_all_kept(server: Server, loads: list[Load], no_more: bool = False) -> None:
    for load in loads:
        load.stop.set()
        load.join(TIMEOUT_S)
    acknowledged = [text for load in loads for text in load.acknowledged]
    texts = [reading["text"] for reading in server.stored_readings()]
    assert len(set(texts)) == len(texts)
    assert set(acknowledged) <= set(texts)
    assert not no_more or set(acknowledged) == set(texts)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_acknowledged_readings_survive(tmp_path: Path, end: str) -> None:
    """Acknowledged readings survive a kill; a stop leaves none without an answer."""
    server = Server(tmp_path)
    loads = under_load(server)
    if end == "kill":
        server.kill()
    else:
        assert server.stop() == 0
    assert_all_kept(server, loads, no_more=end == "stop")
    server.start()
    assert len(server.stored_readings()) >= 800
    assert server.stop() == 0


def test_restart_with_socket_activation(tmp_path: Path) -> None:
    """A restart with systemd's socket refuses no connection and loses nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]

        def started() -> "subprocess.Popen[bytes]":
            serve = [sys.executable, "-m", "frota", "sensors", "serve", "--state-dir", str(tmp_path / "state")]
            # As systemd does it: the socket is descriptor 3, and the process is told that it is meant.
            hand_over = f"import os, sys; os.dup2({listener.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid())"
            script = f"{hand_over}; os.execv(sys.executable, sys.argv[1:])"
            environ = {**os.environ, "LISTEN_FDS": "1"}
            command = [sys.executable, "-c", script, *serve]
            return subprocess.Popen(command, pass_fds=[listener.fileno()], env=environ, stderr=subprocess.DEVNULL)

        process = started()
        loads = [Load(number, port, resend=True) for number in range(4)]
        for _ in range(3):
            for load in loads:
                load.enough.clear()
                assert load.enough.wait(TIMEOUT_S)
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0
            process = started()
        server = Server.__new__(Server)
        server.state = tmp_path / "state"
        assert_all_kept(server, loads)
        assert [load.refused for load in loads] == [0, 0, 0, 0]
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0


def client(folder: Path, port: int, *flags: object) -> "subprocess.Popen[bytes]":
    with (folder / "client.log").open("ab") as log:
        where = ("--port", port, "--state-dir", folder / "client", "--max-backoff", 0.1)
        return start_frota("sensors", "simulate", "temperature", *where, *flags, stderr=log)


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as number:
        yield number


def test_kills_deliver_each_reading_once(tmp_path: Path, port: int) -> None:
    """Each reading is stored once although client and server are killed repeatedly."""
    server = Server(tmp_path, "--port", port)
    flags = ("--interval", 0.002, "--protocol", "native")
    for killed in (False, True, True):
        sender = client(tmp_path, port, *flags)
        server.wait_for("Recebido de")
        server.kill()
        server.start()
        server.wait_for("Recebido de")
        sender.kill() if killed else sender.terminate()
        sender.wait(TIMEOUT_S)
    assert client(tmp_path, port, *flags, "--count", 20).wait(TIMEOUT_S) == 0
    numbers = [reading["number"] for reading in server.stored_readings()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 20
    assert server.stop() == 0


def test_spooled_readings_arrive_in_order(tmp_path: Path, port: int) -> None:
    """Readings made while the server is unavailable arrive in order."""
    sender = client(tmp_path, port, "--interval", 0.01, "--count", 30)
    log = tmp_path / "client.log"
    while "30 readings wait" not in log.read_text(encoding="utf-8"):
        assert sender.poll() is None
        os.sched_yield()
    assert "Erro ao conectar ao servidor." in log.read_text(encoding="utf-8")
    server = Server(tmp_path, "--port", port)
    assert sender.wait(TIMEOUT_S) == 0
    readings = server.stored_readings()
    assert [reading.get("number") for reading in readings] == [None, *range(2, 31)]
    assert server.stop() == 0


def test_dropped_readings_are_reported(tmp_path: Path, port: int) -> None:
    """A client with a full spool drops its oldest readings and reports how many."""
    flags = ("--interval", 0.002, "--count", 40, "--spool-limit", 10, "--protocol", "native")
    server = Server(tmp_path, "--port", port)
    assert client(tmp_path, port, "--interval", 0.002, "--count", 1, "--protocol", "native").wait(TIMEOUT_S) == 0
    server.stop()
    sender = client(tmp_path, port, *flags)
    log = tmp_path / "client.log"
    while log.read_text(encoding="utf-8").count("the oldest reading was dropped") < 30:
        assert sender.poll() is None
        os.sched_yield()
    server.start()
    assert sender.wait(TIMEOUT_S) == 0
    assert [reading["number"] for reading in server.stored_readings()] == [1, *range(32, 42)]
    server.wait_for("the full spool of a sensor's client has dropped 30 readings")
    server.stop()
