"""The agent as people and systemd run it: a process of its own, its signals, and what it weighs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frota.cpu_metrics.agent import agent as agent_module
from frota.cpu_metrics.agent.sampling import Sampler
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.settings import AgentSettings
from support import PATIENCE, frota, output, reserved_port, until
from support.agent import FakeServer, Peer

FORBIDDEN = {"asyncio", "loguru", "uvloop", "ssl", "orjson", "unicodedata", "hashlib"}
WEIGHT = """
import json, os, sys, threading
from frota.cli import main
from frota.cpu_metrics.agent import agent

def leave(*_): print(json.dumps(sorted(sys.modules)), flush=True)
kept = agent._save
agent._save = lambda *words: (leave(), kept(*words))
sys.exit(main())
"""


class Agent:
    """`frota cpu agent`, its log in a file."""

    def __init__(self, folder: Path, port: int, *flags: object, command: tuple[str, ...] = (), **environ: str) -> None:
        self.log_path = folder / "agent.log"
        words = [str(word) for word in ("cpu", "agent", "--port", port, "--state-dir", folder / "state", *flags)]
        env = {**os.environ, **environ}
        with self.log_path.open("ab") as log:
            if command:
                self.process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=log, env=env)
            else:
                self.process = frota(*words, stderr=log, env=env)

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def wait_for(self, pattern: str) -> None:
        def logged() -> bool:
            ended = self.process.poll() is not None
            found = bool(re.search(pattern, self.log()))
            assert found or not ended, self.log()
            return found

        until(logged, self.log)

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.send(number)
        assert self.process.wait(PATIENCE) == 0, self.log()
        assert "Traceback" not in self.log()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as one:
        yield one


def test_the_first_sample_is_a_measurement_and_comes_at_once(tmp_path: Path, server: FakeServer) -> None:
    agent = Agent(tmp_path, server.port, "--interval", 3600)
    peer = server.accept()
    assert peer.hello()["host"] == socket.gethostname()
    sample = peer.sample(ack=True)  # within PATIENCE, and not after an interval
    assert sample["n"] == 1
    assert sample["mean"] == pytest.approx(sum(sample["cpu"]) / len(sample["cpu"]), abs=10)
    assert sample["memory"]["total"] > sample["own"]["memory"] > 0
    agent.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_stop_run_and_numbers_go_on_and_nothing_is_missing(
    tmp_path: Path, server: FakeServer, number: int
) -> None:
    agent = Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    run = peer.hello()["run"]
    seen = [peer.sample(ack=True)["n"] for _ in range(3)]
    unacknowledged = [peer.sample()["n"] for _ in range(3)]
    agent.stop(number)
    assert "samples wait for the next start" in agent.log()
    Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    greeting = peer.hello(last=seen[-1])
    assert (greeting["run"], greeting["acked"]) == (run, seen[-1])
    first = [peer.sample() for _ in range(6)]
    assert [one["n"] for one in first] == list(range(4, 10))
    assert unacknowledged == [4, 5, 6]
    assert first[0]["age"] > 0.2


def test_after_a_kill_the_run_goes_on_and_what_was_lost_with_the_agent_can_be_counted(
    tmp_path: Path, server: FakeServer
) -> None:
    agent = Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    run = peer.hello()["run"]
    assert [peer.sample(ack=True)["n"] for _ in range(3)] == [1, 2, 3]
    last = [peer.sample()["n"] for _ in range(3)][-1]
    agent.process.kill()
    agent.process.wait()
    while (line := peer.line()) and "n" in line:
        last = line["n"]
    again = Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    greeting = peer.hello(last=3)
    assert greeting["run"] == run
    assert last < peer.sample()["n"] <= last + 3  # it may have made some that it had not sent yet
    again.wait_for("[0-9]+ samples are lost: they waited for too long, or their agent was killed")
    again.stop()


def test_nothing_is_lost_while_the_server_is_away(tmp_path: Path) -> None:
    with reserved_port() as port:
        agent = Agent(tmp_path, port, "--interval", 0.1)
        agent.wait_for("no connection to 127.0.0.1")
        with FakeServer(port) as server:
            peer = server.accept()
            peer.hello()
            assert [peer.sample(ack=True)["n"] for _ in range(4)] == [1, 2, 3, 4]
            assert peer.sample()["n"] == 5
        agent.wait_for("connection to 127.0.0.1:[0-9]+ lost")
        with FakeServer(port) as server:
            peer = server.accept()
            peer.hello(last=4)
            assert [peer.sample()["n"] for _ in range(5)] == [5, 6, 7, 8, 9]
        agent.stop()


def test_too_much_to_keep_is_told_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    with reserved_port() as port:
        agent = Agent(tmp_path, port, "--interval", 0.1, "--keep-samples", 2)
        agent.wait_for("2 samples wait for the server, no more are kept")
        time.sleep(0.5)  # five samples, of which it may keep two
        with FakeServer(port) as server:
            peer = server.accept()
            peer.hello()
            first = peer.sample(ack=True)["n"]
            assert first > 1
            agent.wait_for(
                f"{first - 1} samples are lost: they waited for too long, or their agent was killed; {first - 1} in all"
            )
        assert agent.log().count("no more are kept") == 1
        agent.stop()


def test_a_second_agent_does_not_start_on_the_same_folder(tmp_path: Path, server: FakeServer) -> None:
    agent = Agent(tmp_path, server.port)
    server.accept().hello()
    second = frota("cpu", "agent", "--port", server.port, "--state-dir", tmp_path / "state", stderr=subprocess.PIPE)
    said = second.communicate(timeout=PATIENCE)[1].decode()
    assert second.returncode == 1
    assert f"cannot start: state folder {tmp_path / 'state'} is in use by process {agent.process.pid}" in said


def test_a_spool_that_makes_no_sense_stops_nobody(tmp_path: Path, server: FakeServer) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "spool").write_bytes(b"\x00nonsense")
    agent = Agent(tmp_path, server.port)
    peer = server.accept()
    peer.hello()
    assert peer.sample()["n"] == 1
    assert "moved to spool.bad" in agent.log()
    agent.stop()


class Manager:
    """Stands in for systemd."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)

    def hear(self, beginning: str) -> str:
        """Wait for a message; only those of the watchdog may come before it."""
        while not (said := self.socket.recv(1024).decode()).startswith(beginning):
            assert said == "WATCHDOG=1"
        return said


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(tmp_path)
    yield one
    one.socket.close()


def test_systemd_hears_of_readiness_before_the_server_answers_of_life_of_reloads_and_of_the_end(
    tmp_path: Path, manager: Manager, server: FakeServer
) -> None:
    flags = ("--name", "web-1", "--interval", 3600)
    agent = Agent(tmp_path, server.port, *flags, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="200000")
    assert manager.hear("READY=1") == f"READY=1\nSTATUS=web-1 to 127.0.0.1:{server.port} every 3600 s"
    peer = server.accept()
    peer.hello()
    peer.sample(ack=True)
    for _ in range(20):  # nothing else wakes it now
        manager.hear("WATCHDOG=1")
    agent.send(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in manager.hear("RELOADING=1")
    assert manager.hear("READY=1") == "READY=1"
    agent.send(signal.SIGTERM)
    manager.hear("STOPPING=1")
    assert agent.process.wait(PATIENCE) == 0


def test_a_new_interval_takes_effect_at_once_and_is_told_to_the_server(tmp_path: Path, server: FakeServer) -> None:
    file = tmp_path / "env"
    file.write_text("CPU_INTERVAL=3600\nCPU_NAME=web-1\n", encoding="utf-8")
    agent = Agent(tmp_path, server.port, "--env-file", file)
    peer = server.accept()
    assert peer.hello()["interval"] == 3600.0
    peer.sample(ack=True)
    file.write_text("CPU_INTERVAL=0.1\nCPU_NAME=web-2\nCPU_LOG_LEVEL=WARNING\n", encoding="utf-8")
    agent.send(signal.SIGHUP)
    assert peer.hello(last=1)["interval"] == 0.1
    assert [peer.sample(ack=True)["n"] for _ in range(5)] == [2, 3, 4, 5, 6]
    agent.wait_for("CPU_NAME has changed; it takes effect at the next restart")
    assert "configuration reloaded" not in agent.log()  # the level is a WARNING now
    file.write_text("CPU_INTERVAL=soon\n", encoding="utf-8")
    agent.send(signal.SIGHUP)
    agent.wait_for("configuration unchanged: CPU_INTERVAL='soon': must be a number")
    assert peer.sample()["n"] == 7
    agent.stop()


def test_samples_keep_their_schedule_and_do_not_come_in_a_burst_after_a_pause(
    tmp_path: Path, server: FakeServer
) -> None:
    agent = Agent(tmp_path, server.port, "--interval", 0.2)
    peer = server.accept()
    peer.hello()
    before = peer.sample(ack=True)["n"]
    agent.send(signal.SIGSTOP)
    time.sleep(2.0)  # ten intervals
    began = time.monotonic()
    agent.send(signal.SIGCONT)
    while peer.sample()["n"] < before + 9:
        pass
    # Nine intervals, two of which may have been over before: a burst takes no time, and a slow reader only more.
    assert time.monotonic() - began > 1
    agent.stop()


def test_records_are_those_of_every_other_service(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, reserved_port() as port:
        journal.bind(str(path))
        journal.settimeout(PATIENCE)
        agent = Agent(tmp_path, port, FROTA_JOURNAL_SOCKET=str(path))
        fields = dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines())
        agent.stop()
    assert fields == {
        "MESSAGE": f"no connection to 127.0.0.1:{port}: Connection refused",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "frota-cpu-agent",
        "FROTA_SYSTEM": "cpu",
        "FROTA_EVENT": "connect_failed",
        "PEER": f"127.0.0.1:{port}",
        "REASON": "Connection refused",
    }


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--interval", "0"), "--interval '0': must be from 0.1 to 3600.0 seconds"),
        (("--name", "web 1"), "--name 'web 1': must be a host name"),
        (("--protocol", "http"), "--protocol 'http': must be one of native, original"),
    ],
)
def test_wrong_settings_are_one_sentence_and_status_78(flags: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    agent = frota("cpu", "agent", "--state-dir", tmp_path, *flags, stderr=subprocess.PIPE)
    said = agent.communicate(timeout=PATIENCE)[1].decode()
    assert agent.returncode == 78
    assert said.startswith(f"frota: {reason}")


@pytest.mark.parametrize("command", ["serve", "agent", "top", "history HOST"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    word = command.partition(" ")[0]
    assert f"example: frota cpu {word} " in output("cpu", word, "--help")


def loaded(tmp_path: Path, server: FakeServer, *flags: object) -> tuple[set[str], Peer]:
    """Return what an agent has imported by its end, after it was connected and had sent something."""
    agent = Agent(tmp_path, server.port, *flags, command=(sys.executable, "-c", WEIGHT))
    peer = server.accept()
    peer.hello()
    peer.sample(ack=True)
    agent.send(signal.SIGTERM)
    modules: list[str] = json.loads(agent.process.communicate(timeout=PATIENCE)[0])
    return set(modules), peer


def test_nothing_heavy_is_imported(tmp_path: Path, server: FakeServer) -> None:
    modules, _ = loaded(tmp_path, server, "--host", "127.0.0.1")
    assert "psutil" in modules
    assert modules & FORBIDDEN == set()


def test_a_host_name_brings_no_tables_of_unicode(tmp_path: Path, server: FakeServer) -> None:
    modules, _ = loaded(tmp_path, server, "--host", "localhost")
    assert modules & FORBIDDEN == set()


def test_the_original_protocol_reconnects_for_ever(tmp_path: Path) -> None:
    with reserved_port() as port:
        agent = Agent(tmp_path, port, "--interval", 0.1, "--protocol", "original")
        agent.wait_for("no connection")
        for _ in range(2):
            with FakeServer(port) as server:
                text = server.accept().socket.recv(4096).decode()
                assert re.fullmatch(r"(CPU -> Núcleos: \[\d+\.\d(, \d+\.\d)*\] \| Média: \d+\.\d%)+", text)
        assert f"[CLIENTE] Conectado ao servidor 127.0.0.1:{port}" in agent.log()
        assert not (tmp_path / "state").exists()
        agent.stop()


def test_a_log_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with reserved_port() as port:
        options: dict[str, Any] = {"stderr": writer}
        agent = frota("cpu", "agent", "--port", port, "--state-dir", tmp_path, "--interval", 0.1, **options)
        os.close(writer)
        assert b"no connection" in os.read(reader, 65536)
        os.close(reader)
        agent.terminate()
        assert agent.wait(PATIENCE) == 0


def test_a_cpu_that_cannot_be_read_for_a_while_costs_samples_not_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("frota.logs.log.record", lambda *words, **_: told.append(words[1]))
    config = AgentSettings(port=1, state_dir=tmp_path, interval=10.0)
    wakeups, sampler = SimpleNamespace(wake=lambda: None), Sampler()
    agent = agent_module.Agent(config, lambda: config, sampler, wakeups, Spool(10))  # type: ignore[arg-type] # all it asks of them
    now = agent._next_sample
    with monkeypatch.context() as broken:
        broken.setattr("psutil.cpu_times", lambda **_: [])
        assert [agent._sample(now), agent._sample(now + 10)] == [None, None]
    assert agent._sample(now + 35)  # and the next is due on the grid
    assert agent._next_sample == now + 40
    assert told == ["sampling_failed"]
