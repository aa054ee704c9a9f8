"""Agents under measurement: how each is started, and how each of its samples is seen."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from bench.core.build import BUILD
from bench.core.errors import InvalidRunError
from bench.core.process import LOOK_AGAIN_SECONDS, START_SECONDS, free_port

BARE = Path(__file__).with_name("bare.py")
GLANCES = BUILD / "peers"
EXPORTER = "prometheus-node-exporter"
EXPORTER_FILE = BUILD / EXPORTER / "usr" / "bin" / EXPORTER
WATCHED = "mem.used,cpu.user,percpu,load,diskio,fs,network"

Started = tuple[int, Iterator[None]]
"""A process's id, and what gives None at each of its samples."""


def exporter_file() -> str | None:
    """Return where node-exporter is, None where it is not."""
    return shutil.which(EXPORTER) or (str(EXPORTER_FILE) if EXPORTER_FILE.exists() else None)


@contextmanager
def process(command: Sequence[str], output: int, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent for the time of a block. Its bytecode is kept: compiling would be all that is measured."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    agent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**env, **environ})
    try:
        yield agent
        if (status := agent.poll()) is not None:
            raise InvalidRunError(f"the agent ended with {status}")
    finally:
        agent.send_signal(signal.SIGKILL)
        agent.wait()


@contextmanager
def frota(program: Path, state: Path, interval: float) -> Iterator[Started]:
    """Our agent, with a server that acknowledges each sample at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(START_SECONDS)
        where = ["--host", "127.0.0.1", "--port", str(listener.getsockname()[1])]
        command = [str(program), "cpu", "agent", *where, "--interval", str(interval), "--state-dir", str(state)]
        with process(command, subprocess.DEVNULL) as agent:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                connection.settimeout(START_SECONDS)
                if b'"hello"' not in next(lines, b""):
                    raise InvalidRunError("the agent does not say hello")
                yield agent.pid, _acknowledged(connection, lines)


def _acknowledged(connection: socket.socket, lines: Iterator[bytes]) -> Iterator[None]:
    connection.sendall(b'{"frota": 1, "last": 0}\n')
    for number, line in enumerate(lines, 1):
        if f'"n": {number},'.encode() not in line:
            raise InvalidRunError(f"sample {number} is not there, but {line[:100]!r}")
        connection.sendall(b'{"frota": 1, "ack": %d}\n' % number)
        yield


@contextmanager
def printing(command: Sequence[str], mark: bytes, **environ: str) -> Iterator[Started]:
    """Give an agent that prints a line beginning with `mark` for each sample."""
    with process(command, subprocess.PIPE, **environ) as agent:
        yield agent.pid, (None for line in agent.stdout or () if line.startswith(mark))


def bare(interval: float) -> AbstractContextManager[Started]:
    """Return psutil in a loop."""
    return printing([sys.executable, str(BARE), str(interval)], b"")


def glances(interval: float) -> AbstractContextManager[Started]:
    """Return Glances, printing what our agent sends."""
    options = ("-C", os.devnull, "--disable-check-update", "--stdout", WATCHED, "-t", str(interval))
    command = [sys.executable, "-u", "-m", "glances", *options]
    return printing(command, b"mem.used", PYTHONPATH=str(GLANCES))


@contextmanager
def exporter(file: str, interval: float) -> Iterator[Started]:
    """node-exporter with its defaults, collected over one connection at the interval."""
    port = free_port()
    with process([file, f"--web.listen-address=127.0.0.1:{port}"], subprocess.DEVNULL) as agent:
        connection = _connected(agent, port)
        with closing(connection):
            yield agent.pid, _collected(connection, interval)


def _connected(agent: subprocess.Popen[bytes], port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            if agent.poll() is not None or time.monotonic() > deadline:
                raise InvalidRunError(f"{EXPORTER} does not listen: {error}") from error
            time.sleep(LOOK_AGAIN_SECONDS)
        else:
            return connection


def _collected(connection: http.client.HTTPConnection, interval: float) -> Iterator[None]:
    while True:
        due = time.monotonic() + interval
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "identity"})
        if b"node_cpu_seconds_total" not in connection.getresponse().read():
            raise InvalidRunError(f"{EXPORTER} tells nothing of the CPU")
        yield
        time.sleep(max(0.0, due - time.monotonic()))


def figures(pid: int) -> Mapping[str, float]:
    """Return a process's resident memory (MiB), and its CPU time so far (s) to the nanosecond.

    The clock is the process's own (clock_getcpuclockid(3)): ticks of 10 ms would be too coarse.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return {"resident_mib": resident / 1024, "cpu": time.clock_gettime((~pid << 3) | 2)}
