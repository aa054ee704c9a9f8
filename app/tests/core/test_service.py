"""The life cycle of a service as systemd sees it: its notifications and its exit status."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import TIMEOUT_S

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
    def healthy(self): return "unhealthy" not in sys.argv
    def reload(self):
        if "unreadable" in sys.argv: raise SettingsError("X_PORT='a': must be a whole number")
        print("reloaded", flush=True)

sys.exit(service.run(Example, stop_timeout_s=0.2))
"""


class Manager:
    """Stands in for systemd: starts services and receives their notifications."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = str(folder / "notify")
        self.socket.bind(self.path)
        self.socket.settimeout(TIMEOUT_S)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        environ = {**os.environ, "NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "100000"}
        command = [sys.executable, "-c", SERVICE, *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, text=True, stdout=pipe, stderr=pipe)

    def receive(self, beginning: str) -> str:
        """Wait for a message; only those for the watchdog may precede it."""
        while not (message := self.socket.recv(1024).decode()).startswith(beginning):
            assert message == "WATCHDOG=1"
        return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_systemd_is_notified(manager: Manager, number: int) -> None:
    """systemd is notified of readiness, of progress, and of the stop."""
    process = manager.start()
    assert manager.receive("READY=1") == "READY=1\nSTATUS=started"
    manager.receive("WATCHDOG=1")
    manager.receive("WATCHDOG=1")
    process.send_signal(number)
    manager.receive("STOPPING=1")
    assert process.communicate(timeout=TIMEOUT_S)[0] == "stopped\n"
    assert process.returncode == 0


def test_unhealthy_service_does_not_notify_the_watchdog(manager: Manager) -> None:
    """An unhealthy service does not notify the watchdog."""
    process = manager.start("unhealthy")
    manager.receive("READY=1")
    manager.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        manager.receive("WATCHDOG=1")
    process.terminate()
    process.communicate(timeout=TIMEOUT_S)


@pytest.mark.parametrize(
    ("word", "text"), [("", "configuration reloaded"), ("unreadable", "unchanged: X_PORT='a': must be a")]
)
def test_reload_is_notified(manager: Manager, word: str, text: str) -> None:
    """Start and end of a reload are notified, whether it succeeds or not."""
    process = manager.start(word)
    manager.receive("READY=1")
    process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in manager.receive("RELOADING=1")
    manager.receive("READY=1")
    process.terminate()
    assert text in process.communicate(timeout=TIMEOUT_S)[1]
    assert process.returncode == 0


def test_stop_timeout(manager: Manager) -> None:
    """A stop that exceeds its timeout is abandoned with a warning."""
    process = manager.start("stuck")
    manager.receive("READY=1")
    process.terminate()
    assert "work in flight was not finished" in process.communicate(timeout=TIMEOUT_S)[1]
    assert process.returncode == 0


def test_failed_start(manager: Manager) -> None:
    """A failed start is logged without a traceback, and ends with status 1."""
    process = manager.start("broken")
    error = process.communicate(timeout=TIMEOUT_S)[1]
    assert "cannot start: the port is taken" in error
    assert "Traceback" not in error
    assert process.returncode == 1


def test_service_ends_itself(manager: Manager) -> None:
    """A service can end itself with an exit status."""
    process = manager.start("ends")
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3
