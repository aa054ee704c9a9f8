"""The agents to compare: how to start each, and how to notice each of its samples."""

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

from bench.core.build import BASELINES, BUILD
from bench.core.errors import InvalidRunError
from bench.core.process import POLL_INTERVAL_S, START_TIMEOUT_S, free_port

BARE = Path(__file__).with_name("bare.py")
EXPORTER = "prometheus-node-exporter"
EXPORTER_FILE = BUILD / EXPORTER / "usr" / "bin" / EXPORTER
GLANCES_FIELDS = "mem.used,cpu.user,percpu,load,diskio,fs,network"

Started = tuple[int, Iterator[None]]
"""The id of an agent's process, and an iterator that yields None at each of its samples."""


def exporter_file() -> str | None:
    """Return the path of node-exporter, None if it is missing."""
    return shutil.which(EXPORTER) or (str(EXPORTER_FILE) if EXPORTER_FILE.exists() else None)


@contextmanager
def process(command: Sequence[str], output: int, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent during a block. It may write bytecode, because compiling would dominate its start."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    agent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**env, **environ})
    try:
        yield agent
        if (status := agent.poll()) is not None:
            raise InvalidRunError(f"the agent exited with status {status}")
    finally:
        agent.send_signal(signal.SIGKILL)
        agent.wait()


@contextmanager
def frota(program: Path, state: Path, interval: float) -> Iterator[Started]:
    """Run the agent of frota, with a server that acknowledges each sample at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(START_TIMEOUT_S)
        address = ["--host", "127.0.0.1", "--port", str(listener.getsockname()[1])]
        command = [str(program), "cpu", "agent", *address, "--interval", str(interval), "--state-dir", str(state)]
        with process(command, subprocess.DEVNULL) as agent:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                connection.settimeout(START_TIMEOUT_S)
                if b'"hello"' not in next(lines, b""):
                    raise InvalidRunError("the agent does not begin with a hello message")
                yield agent.pid, _acknowledged(connection, lines)


def _acknowledged(connection: socket.socket, lines: Iterator[bytes]) -> Iterator[None]:
    connection.sendall(b'{"frota": 1, "last": 0}\n')
    for number, line in enumerate(lines, 1):
        if f'"n": {number},'.encode() not in line:
            raise InvalidRunError(f"the agent sent {line[:100]!r} instead of sample {number}")
        connection.sendall(b'{"frota": 1, "ack": %d}\n' % number)
        yield


@contextmanager
def printing(command: Sequence[str], prefix: bytes, **environ: str) -> Iterator[Started]:
    """Run an agent that prints a line with a prefix for each sample."""
    with process(command, subprocess.PIPE, **environ) as agent:
        yield agent.pid, (None for line in agent.stdout or () if line.startswith(prefix))


def bare(interval: float) -> AbstractContextManager[Started]:
    """Run psutil in a loop (bare.py)."""
    return printing([sys.executable, str(BARE), str(interval)], b"")


def glances(interval: float) -> AbstractContextManager[Started]:
    """Run Glances, which prints the metrics that the agent of frota sends."""
    options = ("-C", os.devnull, "--disable-check-update", "--stdout", GLANCES_FIELDS, "-t", str(interval))
    command = [sys.executable, "-u", "-m", "glances", *options]
    return printing(command, b"mem.used", PYTHONPATH=str(BASELINES))


@contextmanager
def exporter(file: str, interval: float) -> Iterator[Started]:
    """Run node-exporter with its defaults, and collect its metrics over one connection at the interval."""
    port = free_port()
    with process([file, f"--web.listen-address=127.0.0.1:{port}"], subprocess.DEVNULL) as agent:
        connection = _connected(agent, port)
        with closing(connection):
            yield agent.pid, _collected(connection, interval)


def _connected(agent: subprocess.Popen[bytes], port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            if agent.poll() is not None or time.monotonic() > deadline:
                raise InvalidRunError(f"{EXPORTER} does not listen: {error}") from error
            time.sleep(POLL_INTERVAL_S)
        else:
            return connection


def _collected(connection: http.client.HTTPConnection, interval: float) -> Iterator[None]:
    while True:
        next_time = time.monotonic() + interval
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "identity"})
        if b"node_cpu_seconds_total" not in connection.getresponse().read():
            raise InvalidRunError(f"{EXPORTER} reports no CPU time")
        yield
        time.sleep(max(0.0, next_time - time.monotonic()))


def figures(pid: int) -> Mapping[str, float]:
    """Return the resident memory (MiB) of a process, and its CPU time so far (s).

    The CPU clock of the process (clock_getcpuclockid(3)) counts nanoseconds; proc(5) counts ticks of 10 ms.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return {"resident_mib": resident / 1024, "cpu": time.clock_gettime((~pid << 3) | 2)}
