"""Support of several tests: real server processes, and sockets to them."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from frota.sensors.server.server import SensorServer
from frota.sensors.settings import ServerSettings
from support.forked import Forked, can_be_forked

RESPONSE = b"Dados recebidos com sucesso."
READING = "Sensor1 - Temperatura: 25.34°C".encode()
LINE, RESPONSE_LINE = READING + b"\n", RESPONSE + b"\n"
TIMEOUT_S = 60.0  # of whatever may hang; no test passes by waiting so long
FULL = bool(os.environ.get("FULL"))  # `FULL=yes make check`: tests run in full, see docs/testing.md
STARTED: list["subprocess.Popen[bytes]"] = []
_LISTENS = re.compile(
    r"(?:(?:Servidor (?:iniciando|ZeroMQ iniciado|gRPC iniciado)|\[SERVIDOR\] Rodando) em|server \S+ listens on|"
    r"the page is at) "
    r"(\S+):(\d+)"
)


def start_frota(*words: object, fresh: bool = False, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a frota command in a process of its own, which is killed after the test.

    With `fresh`, and with options that need it, it gets its own interpreter; otherwise it is a fork, see forked.py.
    """
    command = [*map(str, words)]
    if fresh or not can_be_forked(options):
        process = subprocess.Popen([sys.executable, "-m", "frota", *command], **options)
    else:
        process = Forked(command, **options)
    STARTED.append(process)
    return process


def run_frota(*words: object, stdin_data: bytes | None = None, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a frota command to its end; return its status and its output as text."""
    pipe = subprocess.PIPE
    process = start_frota(
        *words, **{"stdin": None if stdin_data is None else pipe, "stdout": pipe, "stderr": pipe, **options}
    )
    out, err = (None if data is None else data.decode() for data in process.communicate(stdin_data, TIMEOUT_S))
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def output(*words: object, **options: Any) -> str:
    """Run a frota command to its end and return its standard output; raise if it fails."""
    done = run_frota(*words, **{"stderr": None, **options})
    done.check_returncode()
    return done.stdout


def until(condition: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = TIMEOUT_S) -> Any:
    """Poll a condition until it is true, and return its value; fail with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.01)
    return value


class Disk:
    """Replaces os.write and os.fdatasync of a log: syncs can block or fail, and the disk can be full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_sync, self.failed, self.syncing = threading.Event(), threading.Event(), threading.Event()
        self.may_sync.set()
        self.failures = self.syncs = 0
        self.broken = False
        self._write, self._sync = os.write, os.fdatasync
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fdatasync", self.sync)

    def write(self, fd: int, data: bytes) -> int:
        """Write; the next `failures` writes of a commit fail as on a full disk."""
        if self.failures and threading.current_thread().name == "commit":
            self.failures -= 1
            self.failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(fd, data)

    def sync(self, fd: int) -> None:
        """Sync, once `may_sync` is set."""
        if not self.may_sync.is_set():
            self.syncing.set()
        assert self.may_sync.wait(TIMEOUT_S)
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        self.syncs += 1
        self._sync(fd)


class Server:
    """`frota sensors serve`, or another system's, in a process of its own, with its log in a file."""

    system = "sensors"
    port = 0  # a free one, which a restart keeps
    metrics_port = 0  # none

    def __init__(self, folder: Path, *flags: object, **options: Any) -> None:
        self.state = folder / "state"
        self.log_path = folder / "server.log"
        self.flags, self.options = flags, options
        self.start()

    def start(self) -> None:
        """Start (again) and wait until it listens."""
        words = [
            self.system,
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            self.port,
            "--state-dir",
            self.state,
            "--metrics-port",
            self.metrics_port,
            *self.flags,
        ]
        with self.log_path.open("wb") as log:
            self.process = start_frota(*words, stderr=log, **self.options)
        self.port = int(self.wait_for(_LISTENS)[2])

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until the log matches a pattern, and return the match."""

        def logged() -> re.Match[str] | None:
            ended = self.process.poll() is not None  # before the log is read, which is then complete
            match = re.search(pattern, self.log())
            assert match or not ended, f"the server ended with status {self.process.returncode}:\n{self.log()}"
            return match

        match: re.Match[str] = until(logged, lambda: f"no {pattern!r} in:\n{self.log()}")
        return match

    def log(self) -> str:
        """Return what the server has logged."""
        return self.log_path.read_text(encoding="utf-8")

    def connect(self) -> socket.socket:
        """Open a connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, *pieces: bytes) -> bytes:
        """Send pieces over a new connection, half-close it, and return the whole response."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def stored_readings(self) -> list[dict[str, Any]]:
        """Return the readings on disk."""
        lines = output("sensors", "history", "--state-dir", self.state, "--last", 1_000_000, "--json").splitlines()
        return [json.loads(line) for line in lines]

    def rss_kib(self) -> int:
        """Return its resident memory in KiB; in a fork it would include memory of the parent."""
        assert not isinstance(self.process, Forked), "start the server with fresh=True"
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def stop(self) -> int:
        """Stop it as systemd does; return its exit status."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(TIMEOUT_S)


@contextmanager
def server(folder: Path, *flags: object, kind: type[Server] = Server, **options: Any) -> Iterator[Server]:
    """Run a server for the time of a block; check that it stops properly even after a failure."""
    running = kind(folder, *flags, **options)
    try:
        yield running
    finally:
        status = running.stop()
    assert status in (0, -signal.SIGKILL), running.log()


@asynccontextmanager
async def serving(
    folder: Path, end: Callable[[int], None] = lambda _: None, **settings: Any
) -> AsyncIterator[tuple[SensorServer, int]]:
    """Run a server inside this process for the time of a block; give the server and its port."""
    config = ServerSettings(port=0, state_dir=folder, **{"metrics_port": 0, **settings})
    sensor_server = SensorServer(config, lambda: config, end)
    port = int((await sensor_server.start()).rpartition(":")[2])
    try:
        yield sensor_server, port
    finally:
        await sensor_server.stop()


@contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port on which nobody listens, and which the kernel assigns to nobody else."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a server may listen on it
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def read_all(connection: socket.socket) -> bytes:
    """Read until the peer closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Read `count` bytes, or fewer at the end of the connection."""
    received = b""
    while len(received) < count and (piece := connection.recv(count - len(received))):
        received += piece
    return received
