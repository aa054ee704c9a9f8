"""The life of a service, seen from outside: what systemd is told, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import PATIENCE

SERVICE = """
import asyncio, sys
from frota.core import service
from frota.core.settings import SettingsError

class Example:
    health = True
    def __init__(self, end): self.end = end
    async def start(self):
        if "broken" in sys.argv: raise OSError("the port is taken")
        if "ends" in sys.argv: asyncio.get_running_loop().call_soon(self.end, 3)
        return "started"
    async def stop(self):
        if "stuck" in sys.argv: await asyncio.sleep(60)
        print("stopped", flush=True)
    def healthy(self): return "ill" not in sys.argv
    def reload(self):
        if "unreadable" in sys.argv: raise SettingsError("X_PORT='a': must be a whole number")
        print("reloaded", flush=True)

service.STOP_TIMEOUT_S = 0.2
sys.exit(service.run(Example))
"""


class Manager:
    """Stands in for systemd: starts services and hears what they say."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = str(folder / "notify")
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        environ = {**os.environ, "NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "100000"}
        command = [sys.executable, "-c", SERVICE, *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, text=True, stdout=pipe, stderr=pipe)

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_systemd_is_notified(manager: Manager, number: int) -> None:
    """systemd is notified of readiness, of progress, and of the stop."""
    process = manager.start()
    assert manager.hear("READY=1") == "READY=1\nSTATUS=started"
    manager.hear("WATCHDOG=1")
    manager.hear("WATCHDOG=1")
    process.send_signal(number)
    manager.hear("STOPPING=1")
    assert process.communicate(timeout=PATIENCE)[0] == "stopped\n"
    assert process.returncode == 0


def test_unhealthy_service_does_not_notify_the_watchdog(manager: Manager) -> None:
    """An unhealthy service does not notify the watchdog."""
    process = manager.start("ill")
    manager.hear("READY=1")
    manager.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        manager.hear("WATCHDOG=1")
    process.terminate()
    process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("word", "said"), [("", "configuration reloaded"), ("unreadable", "unchanged: X_PORT='a': must be a")]
)
def test_reload_is_notified(manager: Manager, word: str, said: str) -> None:
    """Start and end of a reload are notified, whether it succeeds or not."""
    process = manager.start(word)
    manager.hear("READY=1")
    process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in manager.hear("RELOADING=1")
    manager.hear("READY=1")
    process.terminate()
    assert said in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0


def test_stop_timeout(manager: Manager) -> None:
    """A stop that exceeds its timeout is abandoned with a warning."""
    process = manager.start("stuck")
    manager.hear("READY=1")
    process.terminate()
    assert "work in flight was not finished" in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0


def test_failed_start(manager: Manager) -> None:
    """A failed start is logged without a traceback, and ends with status 1."""
    process = manager.start("broken")
    error = process.communicate(timeout=PATIENCE)[1]
    assert "cannot start: the port is taken" in error
    assert "Traceback" not in error
    assert process.returncode == 1


def test_service_ends_itself(manager: Manager) -> None:
    """A service can end itself with an exit status."""
    process = manager.start("ends")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
