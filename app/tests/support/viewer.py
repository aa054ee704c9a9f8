"""Support of the tests of the CPU metrics' viewers: a fake server, and a terminal with a readable screen."""

import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from support import TIMEOUT_S, start_frota

END = b'{"frota": 1, "end": true}\n'
_OUTPUT = re.compile(
    r"\x1b\[(\d+);(\d+)H|\x1b\[[<>?]?[\d;$]*[a-zA-Z]|\x1b\][^\x07]*\x07|\x1b[^\[]|([^\x1b])", re.DOTALL
)
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l\x1b[?25h\x1b[?1004l"


def host(name: str, cores: int = 2, **fields: Any) -> dict[str, Any]:
    """Return a host as a server reports it."""
    cpu = [round((7.3 * core) % 100, 1) for core in range(cores)]
    sample = {
        "cpu": cpu,
        "mean": round(sum(cpu) / cores, 1),
        "load": [0.1, 0.2, 0.3],
        "memory": {"total": 16 << 30, "used": 4 << 30, "available": 8 << 30},
        "disk": {"total": 100 << 30, "used": 25 << 30, "read": 1_258_291.0, "write": 348_160.0},
        "network": {"received": 2_097_152.0, "sent": 1024.0, "drops": 0.0, "errors": 0.5},
        "own": {"cpu": 12.5, "memory": 14 << 20},
    }
    return {
        "host": name,
        "dialect": "native",
        "peer": "10.0.1.5:43210",
        "state": "connected",
        "first_seen": "2026-01-31T12:00:00.000Z",
        "last_seen": "2026-01-31T13:00:00.000Z",
        "age": 1.2,
        "interval": 5.0,
        "samples": 17280,
        "missing": 0,
        "duplicates": 0,
        "over": [],
        "means": [10.0, 50.0, 99.0],
        "sample": sample,
    } | fields


def lines(*objects: object) -> bytes:
    """Return a response with its end."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in objects) + END


class FakeMetricsServer:
    """Sends `response`, or the result of calling it with the request; None closes the connection."""

    def __init__(self, response: bytes | Callable[[dict[str, Any]], bytes | None]) -> None:
        self.response = response
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.closes_after_response = False
        self.port = 0
        self._open: list[socket.socket] = []
        self.start()

    def start(self) -> None:
        """Listen, after a stop on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def stop(self, *, reset: bool = False) -> None:
        """Close all connections, or reset them."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("2i", 1, 0))
                connection.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as lines_received:
            for line in lines_received:
                self.requests.append(json.loads(line))
                response = self.response if isinstance(self.response, bytes) else self.response(self.requests[-1])
                if response is None:
                    return
                connection.sendall(response)
                if self.closes_after_response:
                    return


@contextmanager
def fake_metrics_server(response: bytes | Callable[[dict[str, Any]], bytes | None]) -> Iterator[FakeMetricsServer]:
    """Run a fake server for the time of a block."""
    server = FakeMetricsServer(response)
    try:
        yield server
    finally:
        server.stop()


class Terminal:
    """A command on a pseudo-terminal: its screen can be read, and keys can be typed."""

    def __init__(
        self, *words: object, columns: int = 80, rows: int = 24, controlling: bool = True, **environment: str
    ) -> None:
        self.data = b""
        self._ours, self.theirs = os.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.theirs)
        self.process = start_frota(
            *words,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment},
            # A session of its own receives Ctrl+C, but has no shell to continue it after Ctrl+Z.
            start_new_session=controlling,
            process_group=None if controlling else 0,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if controlling else None,
        )

    def resize(self, columns: int, rows: int) -> None:
        """Resize the window."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    @property
    def screen(self) -> list[str]:
        """The current lines of the screen, without colours."""
        cells: dict[int, dict[int, str]] = {}
        row = column = 1
        for match in _OUTPUT.finditer(self.data.decode(errors="replace")):
            if match[1]:
                row, column = int(match[1]), int(match[2])
            elif match[3] and match[3].isprintable():
                cells.setdefault(row, {})[column] = match[3]
                column += 1
        lines = [cells.get(number, {}) for number in range(1, max(cells, default=0) + 1)]
        return [
            "".join(line.get(place, " ") for place in range(1, max(line, default=0) + 1)).rstrip() for line in lines
        ]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the screen matches a pattern, and return the match."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (match := re.search(pattern, "\n".join(self.screen))):
            assert time.monotonic() < deadline, f"no {pattern!r} on:\n" + "\n".join(self.screen)
            self._read(0.1)
        return match

    def end(self) -> int:
        """Wait for the command's end and return its exit status; `data` has its whole output."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the command does not end"
            self._read(0.05)
        self.read_rest()
        assert self.process.stderr
        self.errors = self.process.stderr.read().decode()
        return int(self.process.returncode)

    def read_rest(self) -> bytes:
        """Read and return the output until now."""
        self._read(0)
        return self.data

    def hang_up(self) -> None:
        """Close the terminal while the command runs."""
        for end in (self._ours, self.theirs):
            os.close(end)
        self._ours, self.theirs = os.openpty()

    def is_as_before(self) -> bool:
        """Return whether the terminal is in its state before the command."""
        return self.data.rstrip(b"\a").endswith(LEFT) and termios.tcgetattr(self.theirs) == self.before

    def close(self) -> None:
        """Kill the command, and close the terminal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT_S)
        assert self.process.stderr
        self.process.stderr.close()
        for end in (self._ours, self.theirs):
            os.close(end)

    def _read(self, timeout: float) -> None:
        while select.select([self._ours], [], [], timeout)[0]:
            self.data += os.read(self._ours, 65536)
            timeout = 0


@contextmanager
def terminal(*words: object, **options: Any) -> Iterator[Terminal]:
    """Run a command on a terminal for the time of a block."""
    screen = Terminal(*words, **options)
    try:
        yield screen
    finally:
        screen.close()
