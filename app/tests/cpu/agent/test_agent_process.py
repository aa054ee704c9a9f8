"""`frota cpu agent` as a process: signals, systemd, and the modules that it imports."""

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

from frota.cpu.agent import agent as agent_module
from frota.cpu.agent.sampling import Sampler
from frota.cpu.agent.spool import Spool
from frota.cpu.settings import AgentSettings
from support import TIMEOUT_S, output, reserved_port, start_frota, until
from support.agent import FakeServer

FORBIDDEN = {"asyncio", "loguru", "uvloop", "ssl", "orjson", "unicodedata", "hashlib"}
PRINT_MODULES = """
import json, sys
from frota.cli import main

status = main()
print(json.dumps(sorted(sys.modules)), flush=True)
sys.exit(status)
"""


class Agent:
    """A process with `frota cpu agent`; its log is a file."""

    def __init__(self, folder: Path, port: int, *flags: object, command: tuple[str, ...] = (), **environ: str) -> None:
        self.log_path = folder / "agent.log"
        words = [str(word) for word in ("cpu", "agent", "--port", port, "--state-dir", folder / "state", *flags)]
        env = {**os.environ, **environ}
        with self.log_path.open("ab") as log:
            if command:
                self.process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=log, env=env)
            else:
                self.process = start_frota(*words, stderr=log, env=env)

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def wait_for(self, pattern: str) -> None:
        def logged() -> bool:
            ended = self.process.poll() is not None  # before the log is read
            match = bool(re.search(pattern, self.log()))
            assert match or not ended, self.log()
            return match

        until(logged, self.log)

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.send(number)
        assert self.process.wait(TIMEOUT_S) == 0, self.log()
        assert "Traceback" not in self.log()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def test_first_sample_comes_at_once(tmp_path: Path, server: FakeServer) -> None:
    """The first sample is a measurement and is sent at once, not after an interval."""
    agent = Agent(tmp_path, server.port, "--interval", 3600)
    peer = server.accept()
    assert peer.hello()["host"] == socket.gethostname()
    sample = peer.sample(ack=True)
    assert sample["n"] == 1
    assert sample["mean"] == pytest.approx(sum(sample["cpu"]) / len(sample["cpu"]), abs=10)
    assert sample["memory"]["total"] > sample["own"]["memory"] > 0
    agent.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_and_start(tmp_path: Path, server: FakeServer, number: int) -> None:
    """After a stop the next agent continues the run, and no sample is missing."""
    agent = Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    run = peer.hello()["run"]
    acknowledged = [peer.sample(ack=True)["n"] for _ in range(3)]
    unacknowledged = [peer.sample()["n"] for _ in range(3)]
    agent.stop(number)
    assert "samples are in the spool for the next start" in agent.log()
    Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    hello = peer.hello(last=acknowledged[-1])
    assert (hello["run"], hello["acked"]) == (run, acknowledged[-1])
    samples = [peer.sample() for _ in range(6)]
    assert [sample["n"] for sample in samples] == list(range(4, 10))
    assert unacknowledged == [4, 5, 6]
    assert samples[0]["age"] > 0.2


def test_kill_and_start(tmp_path: Path, server: FakeServer) -> None:
    """After a kill the next agent continues the run, and the lost samples are counted."""
    agent = Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    run = peer.hello()["run"]
    assert [peer.sample(ack=True)["n"] for _ in range(3)] == [1, 2, 3]
    last = [peer.sample()["n"] for _ in range(3)][-1]
    agent.process.kill()
    agent.process.wait()
    while (message := peer.receive()) and "n" in message:
        last = message["n"]
    second_agent = Agent(tmp_path, server.port, "--interval", 0.1)
    peer = server.accept()
    assert peer.hello(last=3)["run"] == run
    assert last < peer.sample()["n"] <= last + 3  # it may have taken some that it had not sent yet
    second_agent.wait_for("[0-9]+ samples are lost .*agent killed")
    second_agent.stop()


def test_unavailable_server(tmp_path: Path) -> None:
    """While the server is unavailable no sample is lost."""
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


def test_full_spool_is_logged(tmp_path: Path) -> None:
    """A full spool is logged once, and the lost samples when the server is available again."""
    with reserved_port() as port:
        agent = Agent(tmp_path, port, "--interval", 0.1, "--spool-samples", 2)
        agent.wait_for("the spool is full: 2 samples wait for the server")
        time.sleep(0.5)  # five samples, of which two are kept
        with FakeServer(port) as server:
            peer = server.accept()
            peer.hello()
            first = peer.sample(ack=True)["n"]
            assert first > 1
            agent.wait_for(f"{first - 1} samples are lost .*; {first - 1} since the start")
        assert agent.log().count("the spool is full") == 1
        agent.stop()


def test_second_agent_does_not_start(tmp_path: Path, server: FakeServer) -> None:
    """A second agent does not start in the same state folder, and names the process of the first."""
    agent = Agent(tmp_path, server.port)
    server.accept().hello()
    second = start_frota(
        "cpu", "agent", "--port", server.port, "--state-dir", tmp_path / "state", stderr=subprocess.PIPE
    )
    log = second.communicate(timeout=TIMEOUT_S)[1].decode()
    assert second.returncode == 1
    assert f"cannot start: state folder {tmp_path / 'state'} is in use by process {agent.process.pid}" in log


def test_malformed_spool(tmp_path: Path, server: FakeServer) -> None:
    """An agent starts in spite of a malformed spool, and logs it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "spool").write_bytes(b"\x00nonsense")
    agent = Agent(tmp_path, server.port)
    peer = server.accept()
    peer.hello()
    assert peer.sample()["n"] == 1
    assert "moved to spool.bad" in agent.log()
    agent.stop()


class Manager:
    """Stands in for systemd: receives the notifications."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(TIMEOUT_S)

    def receive(self, prefix: str) -> str:
        """Wait for a notification; only those of the watchdog may come before it."""
        while not (message := self.socket.recv(1024).decode()).startswith(prefix):
            assert message == "WATCHDOG=1"
        return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


def test_systemd_notifications(tmp_path: Path, manager: Manager, server: FakeServer) -> None:
    """systemd is notified of readiness, of liveness, of a reload and of the stop."""
    flags = ("--name", "web-1", "--interval", 3600)
    agent = Agent(tmp_path, server.port, *flags, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="200000")
    assert manager.receive("READY=1") == f"READY=1\nSTATUS=web-1 to 127.0.0.1:{server.port} every 3600 s"
    peer = server.accept()
    peer.hello()
    peer.sample(ack=True)
    for _ in range(20):  # nothing else wakes the agent now
        manager.receive("WATCHDOG=1")
    agent.send(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in manager.receive("RELOADING=1")
    assert manager.receive("READY=1") == "READY=1"
    agent.send(signal.SIGTERM)
    manager.receive("STOPPING=1")
    assert agent.process.wait(TIMEOUT_S) == 0


def test_reload(tmp_path: Path, server: FakeServer) -> None:
    """A new interval takes effect at SIGHUP and is announced; an invalid file changes nothing."""
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
    assert "configuration reloaded" not in agent.log()  # the log level is WARNING now
    file.write_text("CPU_INTERVAL=soon\n", encoding="utf-8")
    agent.send(signal.SIGHUP)
    agent.wait_for("configuration unchanged: CPU_INTERVAL='soon': must be a number")
    assert peer.sample()["n"] == 7
    agent.stop()


def test_schedule_after_a_pause(tmp_path: Path, server: FakeServer) -> None:
    """An agent that was paused skips the samples that it missed and keeps its schedule."""
    agent = Agent(tmp_path, server.port, "--interval", 0.2)
    peer = server.accept()
    peer.hello()
    before = peer.sample(ack=True)["n"]
    agent.send(signal.SIGSTOP)
    time.sleep(2.0)  # ten intervals
    started = time.monotonic()
    agent.send(signal.SIGCONT)
    while peer.sample()["n"] < before + 9:
        pass
    # Nine intervals, two of which may have passed before; a burst would take no time, and a slow reader takes longer.
    assert time.monotonic() - started > 1
    agent.stop()


def test_journal_fields(tmp_path: Path) -> None:
    """A log record has the fields that those of every service have."""
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, reserved_port() as port:
        journal.bind(str(path))
        journal.settimeout(TIMEOUT_S)
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
def test_invalid_settings(flags: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    """Invalid settings end the agent with one sentence and status 78."""
    agent = start_frota("cpu", "agent", "--state-dir", tmp_path, *flags, stderr=subprocess.PIPE)
    error = agent.communicate(timeout=TIMEOUT_S)[1].decode()
    assert agent.returncode == 78
    assert error.startswith(f"frota: {reason}")


@pytest.mark.parametrize("command", ["serve", "agent", "top", "history HOST"])
def test_help_has_an_example(command: str) -> None:
    """The help of each command has an example."""
    word = command.partition(" ")[0]
    assert f"example: frota cpu {word} " in output("cpu", word, "--help")


def imported(tmp_path: Path, server: FakeServer, *flags: object) -> set[str]:
    """Run an agent until a sample is acknowledged, and stop it; return the modules that it has imported."""
    agent = Agent(tmp_path, server.port, *flags, command=(sys.executable, "-c", PRINT_MODULES))
    peer = server.accept()
    peer.hello()
    peer.sample(ack=True)
    agent.send(signal.SIGTERM)
    modules: list[str] = json.loads(agent.process.communicate(timeout=TIMEOUT_S)[0])
    return set(modules)


def test_imports(tmp_path: Path, server: FakeServer) -> None:
    """The agent imports psutil, and no library that takes much memory."""
    modules = imported(tmp_path, server, "--host", "127.0.0.1")
    assert "psutil" in modules
    assert modules & FORBIDDEN == set()


def test_imports_with_a_host_name(tmp_path: Path, server: FakeServer) -> None:
    """The lookup of a host name loads no Unicode tables."""
    assert imported(tmp_path, server, "--host", "localhost") & FORBIDDEN == set()


def test_legacy_protocol_reconnects(tmp_path: Path) -> None:
    """With the legacy protocol the agent reconnects, too, and has no state folder."""
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


def test_log_without_a_reader(tmp_path: Path) -> None:
    """The agent runs on when nobody reads its log."""
    reader, writer = os.pipe()
    with reserved_port() as port:
        options: dict[str, Any] = {"stderr": writer}
        agent = start_frota("cpu", "agent", "--port", port, "--state-dir", tmp_path, "--interval", 0.1, **options)
        os.close(writer)
        assert b"no connection" in os.read(reader, 65536)
        os.close(reader)
        agent.terminate()
        assert agent.wait(TIMEOUT_S) == 0


def test_sampling_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the CPU cannot be read there are no samples; the agent logs it once and keeps its schedule."""
    events: list[str] = []
    monkeypatch.setattr("frota.logs.log.record", lambda _level, event, _text, **_: events.append(event))
    config = AgentSettings(port=1, state_dir=tmp_path, interval=10.0)
    wakeups, sampler = SimpleNamespace(wake=lambda: None), Sampler()
    agent = agent_module.Agent(config, lambda: config, sampler, wakeups, Spool(10))  # type: ignore[arg-type] # all that it uses of them
    now = agent.next_sample
    with monkeypatch.context() as broken:
        broken.setattr("psutil.cpu_times", lambda **_: [])
        assert [agent.sample(now), agent.sample(now + 10)] == [None, None]
    assert agent.sample(now + 35)
    assert agent.next_sample == now + 40  # on the grid of intervals
    assert events == ["sampling_failed"]
