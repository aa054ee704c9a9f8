"""Servers of the hosts' Debian, on loopback: each runs in a root directory that a program of tools/ creates."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from bench.core.errors import InvalidRunError
from bench.core.options import Options
from bench.core.process import POLL_INTERVAL_S, START_TIMEOUT_S, children, tail

ROOT = Path(__file__).parents[2]


def find_obstacle(name: str) -> str | None:
    """Return why the server `name` cannot run here, None if it can."""
    if os.geteuid():
        return f"the {name} runs in a root directory of its own, which requires root: sudo make bench"
    folder = ROOT / ".local" / name
    if not (folder / "tree" / "ready").exists() and not shutil.which("mmdebstrap"):
        return f"there is no {name} in {folder}, and no mmdebstrap to create it (Debian: apt-get install mmdebstrap)"
    return None


class ChrootServer:
    """A server of tools/NAME: starts at its first use, and ends with the run.

    `ports` are those to choose from, and `offsets` of further ports that it uses, from that one. All are below the
    ephemeral ports of Linux.
    """

    name: str
    ports: range
    offsets: Sequence[int] = (0,)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._server: subprocess.Popen[bytes] | None = None
        self._state, self._log = options.folder / self.name, options.folder / f"{self.name}.log"
        self.port = 0

    @property
    def pid(self) -> int:
        """The process id of its parent process, once it has started."""
        return self._server.pid if self._server else 0

    def responds(self) -> bool:
        """Return whether the server executes requests."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server unless it runs, and wait until it executes requests. Raises InvalidRunError."""
        if self._server:
            return
        tool, folder = ROOT / "tools" / self.name, ROOT / ".local" / self.name
        subprocess.run([tool, "build", folder], check=True)
        self.port = next(port for port in self.ports if not any(is_listening(port + by) for by in self.offsets))
        with self._log.open("wb") as output:
            self._server = subprocess.Popen(
                [tool, "run", folder, str(self.port), self._state], stdout=output, stderr=output, start_new_session=True
            )
        self._options.resources.callback(self._end)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.responds():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise InvalidRunError(f"the {self.name} does not start; the end of its output:\n{tail(self._log)}")
            time.sleep(POLL_INTERVAL_S)

    def set_cpus(self, cpus: Collection[int]) -> None:
        """Set the CPU affinity of all its threads, which future threads inherit."""
        pids = [self._server.pid] if self._server else []
        while pids:
            process = Path("/proc") / str(pids.pop())
            pids += children(process)
            for thread in process.glob("task/*"):
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cpus)

    def _end(self) -> None:
        """Kill the first process of its PID namespace, which kills all others, and wait for its parent."""
        if self._server and self._server.poll() is None:
            for child in children(Path("/proc") / str(self._server.pid)):
                os.kill(child, signal.SIGKILL)
            self._server.wait()


def is_listening(port: int) -> bool:
    """Return whether a process listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
