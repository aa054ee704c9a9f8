"""What several tests need: a real server process, and sockets that speak to it."""

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

ANSWER = b"Dados recebidos com sucesso."
READING = "Sensor1 - Temperatura: 25.34°C".encode()
LINE, ANSWER_LINE = READING + b"\n", ANSWER + b"\n"
PATIENCE = 60.0  # seconds until a test gives up, for what hangs; none passes by waiting so long
FULL = bool(os.environ.get("FULL"))  # `make check FULL=yes`: what a part of is tested otherwise is tested whole
STARTED: list["subprocess.Popen[bytes]"] = []
_LISTENS = re.compile(r"(?:Servidor (?:iniciando|ZeroMQ iniciado|gRPC iniciado)|\[SERVIDOR\] Rodando) em (\S+):(\d+)")


def frota(*words: object, fresh: bool = False, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a frota command in a process of its own, which ends with the test at the latest.

    With `fresh`, and with options that need it, in an interpreter of its own too; otherwise in a fork, see forked.py.
    """
    command = [*map(str, words)]
    if fresh or not can_be_forked(options):
        process = subprocess.Popen([sys.executable, "-m", "frota", *command], **options)
    else:
        process = Forked(command, **options)
    STARTED.append(process)
    return process


def ran(*words: object, given: bytes | None = None, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a frota command to its end; return its status, and as text what it printed."""
    pipe = subprocess.PIPE
    process = frota(*words, **{"stdin": None if given is None else pipe, "stdout": pipe, "stderr": pipe, **options})
    out, err = (None if said is None else said.decode() for said in process.communicate(given, PATIENCE))
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def output(*words: object, **options: Any) -> str:
    """Run a frota command to its end and return what it printed."""
    done = ran(*words, **{"stderr": None, **options})
    done.check_returncode()
    return done.stdout


def until(condition: Callable[[], Any], what: str | Callable[[], str]) -> Any:
    """Ask again and again until something is so, and return it; for what tells nobody. `what` is wrong until then."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.01)
    return found


class Disk:
    """Stands in for os.write and os.fdatasync of a log: can be made to wait, to have no room, to be broken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.failed, self.syncing = threading.Event(), threading.Event(), threading.Event()
        self.go.set()
        self.failures = self.syncs = 0
        self.broken = False
        self._write, self._sync = os.write, os.fdatasync
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fdatasync", self.sync)

    def write(self, fd: int, data: bytes) -> int:
        """Write, unless there shall be no room for so many more times."""
        if self.failures and threading.current_thread().name == "commit":
            self.failures -= 1
            self.failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(fd, data)

    def sync(self, fd: int) -> None:
        """Sync, once it may."""
        if not self.go.is_set():
            self.syncing.set()
        assert self.go.wait(PATIENCE)
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        self.syncs += 1
        self._sync(fd)


class Server:
    """`frota sensors serve` in a process of its own, its log in a file; `system` may name another one."""

    system = "sensors"
    port = 0  # any free one; started again, it listens where it did before
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
            self.process = frota(*words, stderr=log, **self.options)
        self.port = int(self.wait_for(_LISTENS)[2])

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until the log has something and return the match."""

        def logged() -> re.Match[str] | None:
            ended = self.process.poll() is not None  # before the log is read, which then has all
            match = re.search(pattern, self.log())
            assert match or not ended, f"the server ended:\n{self.log()}"
            return match

        found: re.Match[str] = until(logged, lambda: f"no {pattern!r} in:\n{self.log()}")
        return found

    def log(self) -> str:
        """Return what the server has logged."""
        return self.log_path.read_text(encoding="utf-8")

    def connect(self) -> socket.socket:
        """Open a connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, *pieces: bytes) -> bytes:
        """Send pieces over a new connection, end our side, and return all that comes back."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def kept(self) -> list[dict[str, Any]]:
        """Return the readings on disk."""
        lines = output("sensors", "history", "--state-dir", self.state, "--last", 1_000_000, "--json").splitlines()
        return [json.loads(line) for line in lines]

    def rss_kib(self) -> int:
        """Return the memory it uses, of which a fork would have a part from where it comes from."""
        assert not isinstance(self.process, Forked), "start the server with fresh=True"
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """Stop it as systemd does; return its exit status."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def server(folder: Path, *flags: object, **options: Any) -> Iterator[Server]:
    """Run a server for the time of a block; whatever happened, it must still be able to end properly."""
    running = Server(folder, *flags, **options)
    try:
        yield running
    finally:
        status = running.stop()
    assert status in (0, -signal.SIGKILL), running.log()


@asynccontextmanager
async def serving(
    folder: Path, end: Callable[[int], None] = lambda _: None, **settings: Any
) -> AsyncIterator[tuple[SensorServer, int]]:
    """Run a server inside this process for the time of a block; give it and its port."""
    config = ServerSettings(port=0, state_dir=folder, **{"metrics_port": 0, **settings})
    one = SensorServer(config, lambda: config, end)
    port = int((await one.start()).rpartition(":")[2])
    try:
        yield one, port
    finally:
        await one.stop()


@contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port on which nobody listens, and that nobody gets who does not ask for just this one."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a server may listen on it
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def read_all(connection: socket.socket) -> bytes:
    """Read until the peer ends."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes, or fewer at the end of the connection."""
    received = b""
    while len(received) < count and (piece := connection.recv(count - len(received))):
        received += piece
    return received
