"""Processes under measurement: start, CPU affinity, memory and CPU time, end."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.core.errors import CannotRunError, InvalidRunError

START_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.02


def allow_open_files(needed: int) -> None:
    """Raise the limit of open files of this process and its future children. Raises CannotRunError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotRunError(
            f"{needed} open files are needed, the hard limit is {hard}: raise it (ulimit -Hn {needed}, as root)"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def require_frota(program: Path) -> None:
    """Raise CannotRunError if the frota to measure does not exist."""
    if not program.exists():
        raise CannotRunError(f"there is no {program}: run `make venv`, or choose another with --frota")


def on_cpus(command: Sequence[str], cpus: Collection[int]) -> list[str]:
    """Return a command that runs `command`, with all its threads, on `cpus`. Raises CannotRunError without taskset."""
    if shutil.which("taskset") is None:
        raise CannotRunError("there is no taskset: install util-linux")
    return ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a server's output, without control characters."""
    with log.open("rb") as output:
        output.seek(max(0, log.stat().st_size - 16_384))
        text = output.read().decode(errors="replace")
        last = text.splitlines()[-lines:] or ["(none)"]
    return "\n".join("    " + "".join(c if c.isprintable() else "?" for c in line) for line in last)


@contextmanager
def fresh_state(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield an empty state folder, and a file for a server's output, whose end is appended to an InvalidRunError."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        state, log = Path(run) / "state", Path(run) / "output"
        state.mkdir()
        log.touch()
        try:
            yield state, log
        except InvalidRunError as error:
            raise InvalidRunError(f"{error}\n  the end of the server's output:\n{tail(log)}") from error


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[int]:
    """Start a server, wait until it listens on `port`, yield its process id, and kill it at the end.

    Raises InvalidRunError if the server ends by itself or does not listen.
    """
    with started(command, log) as server:
        wait_until_listening(server, port)
        yield server.pid


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process, yield it, and kill it and its children at the end.

    SIGKILL, because a server must have stored everything that it acknowledged.
    Raises InvalidRunError if the process ends by itself.
    """
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield server
        require_alive(server)
    except InvalidRunError as error:
        require_alive(server, f" ({error})")
        raise
    finally:
        # Until the child is reaped, the kernel does not reuse its id, nor that of its process group.
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def require_alive(server: subprocess.Popen[bytes], reason: str = "") -> None:
    """Raise InvalidRunError, with the exit status, if the server has ended."""
    if (status := server.poll()) is not None:
        raise InvalidRunError(f"the server exited with status {status} during the measurement{reason}")


def wait_until_listening(server: subprocess.Popen[bytes], port: int) -> None:
    """Raise InvalidRunError if the server ends, or does not listen within START_TIMEOUT_S."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                server.wait(POLL_INTERVAL_S)
            require_alive(server)
        else:
            return
    raise InvalidRunError(f"the server does not listen after {START_TIMEOUT_S:.0f} s")


def peak_memory(pid: int) -> int:
    """Return the sum of the highest resident sets so far (`VmHWM`, proc(5)), in bytes, of a process and its children.

    It is never less than the peak of the sum.
    """
    process = Path("/proc") / str(pid)
    total = 0
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            total = int(line.split()[1]) * 1024
    return total + sum(peak_memory(child) for child in children(process))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far (s) of a process and its running children (`utime`, `stime` of proc(5))."""
    process = Path("/proc") / str(pid)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(child) for child in children(process))


def children_cpu_seconds() -> float:
    """Return the CPU time (s) of all children of this process that have ended, including their children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def children(process: Path) -> list[int]:
    """Return the ids of the running child processes of all threads; `process` is a folder of proc(5)."""
    pids: list[int] = []
    for thread in process.glob("task/*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            pids += map(int, (thread / "children").read_text().split())
    return pids
