"""Servers under measurement: started fresh, placed on CPUs, watched, and ended by id."""

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

START_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.02


def allow_open_files(needed: int) -> None:
    """Raise this process's limit of open files, which its children inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotRunError(
            f"{needed} open files are needed and this shell allows {hard}: "
            f"raise the hard limit (ulimit -Hn {needed}, as root)"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def on_cpus(command: Sequence[str], cpus: Collection[int]) -> list[str]:
    """Return `command` as one that runs on `cpus` only, all its threads with it."""
    if shutil.which("taskset") is None:
        raise CannotRunError("there is no taskset here: install util-linux")
    return ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a server's output, safe to print on a terminal."""
    with log.open("rb") as output:
        output.seek(max(0, log.stat().st_size - 16_384))
        text = output.read().decode(errors="replace")
        shown = text.splitlines()[-lines:] or ["(none)"]
    return "\n".join("    " + "".join(c if c.isprintable() else "?" for c in line) for line in shown)


@contextmanager
def fresh_state(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Give an empty state folder, and a file for a server's output, whose end is added to an InvalidRunError."""
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
    """Start a server, wait until `port` accepts, give its process id, kill it after.

    SIGKILL on purpose: what the server acknowledged has to be there without a goodbye.
    Raises InvalidRunError where it ends by itself, or does not listen.
    """
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_until_listening(server, port)
        yield server.pid
        require_alive(server)
    except InvalidRunError as error:
        require_alive(server, f" ({error})")
        raise
    finally:
        # As long as it is our unreaped child the id, and so the group's, can be nobody else's.
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def require_alive(server: subprocess.Popen[bytes], why: str = "") -> None:
    """Raise InvalidRunError, with the exit status, where the server is no more."""
    if (status := server.poll()) is not None:
        raise InvalidRunError(f"the server ended with {status} while it was needed{why}")


def wait_until_listening(server: subprocess.Popen[bytes], port: int) -> None:
    """Raise InvalidRunError where the server ends, or accepts nobody for START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                server.wait(LOOK_AGAIN_SECONDS)
            require_alive(server)
        else:
            return
    raise InvalidRunError(f"no server listens after {START_SECONDS:.0f} s")


def peak_memory(pid: int) -> int:
    """Return the highest resident set so far, in bytes, of a process and its children.

    The sum of the peaks (`VmHWM`, proc(5)): never less than the true peak of the sum.
    """
    process = Path("/proc") / str(pid)
    total = 0
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            total = int(line.split()[1]) * 1024
    return total + sum(peak_memory(child) for child in children(process))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a process and its children that are still there (`utime`, `stime` of proc(5))."""
    process = Path("/proc") / str(pid)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(child) for child in children(process))


def children(process: Path) -> list[int]:
    """Return the ids of the child processes of all threads that are still there (`process` is a folder of proc)."""
    found: list[int] = []
    for thread in process.glob("task/*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (thread / "children").read_text().split())
    return found
