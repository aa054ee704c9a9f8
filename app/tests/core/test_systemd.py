"""Notifications to systemd, and what a service gets from it."""

import os
import resource
import socket
from pathlib import Path

import pytest

from frota.core import systemd
from frota.core.errors import StateError
from frota.storage import state_folder


def test_notification_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notification is sent to systemd's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.notify("READY=1", "STATUS=listening")
        assert manager.recv(1024) == b"READY=1\nSTATUS=listening"
        systemd.reloading()
        assert manager.recv(1024).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_abstract_address_is_notified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket with an abstract address is notified too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + manager.getsockname()[1:].decode())
        systemd.notify("READY=1")
        assert manager.recv(1024) == b"READY=1"


def test_notifications_survive_a_lack_of_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notification without a free descriptor is skipped, and the next one is sent."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            systemd.notify("STATUS=skipped")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        systemd.notify("WATCHDOG=1")
        assert manager.recv(1024) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here"])
def test_other_addresses_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A notification to an address that is not absolute, or where nobody listens, has no effect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("relative")
        manager.setblocking(False)
        systemd.notify("READY=1")
        with pytest.raises(BlockingIOError):
            manager.recv(1024)


def test_watchdog_interval_is_for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog's interval is None for another process, and if it is zero."""
    monkeypatch.setenv("WATCHDOG_USEC", "2500000")
    assert systemd.watchdog_seconds() == 2.5
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert systemd.watchdog_seconds() is None
    monkeypatch.delenv("WATCHDOG_PID")
    monkeypatch.setenv("WATCHDOG_USEC", "0")
    assert systemd.watchdog_seconds() is None


def test_sockets_of_another_process_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listening sockets for another process are ignored."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert systemd.listening_sockets() == []


def test_default_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state folder is the first one of systemd's, else one in the home folder."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert state_folder.default_directory("unit") == Path("/var/lib/a")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("HOME", "/home/someone")
    assert state_folder.default_directory("unit") == Path("/home/someone/.local/state/frota/unit")


def test_state_folder_error_has_the_fix(tmp_path: Path) -> None:
    """The error of a state folder that cannot be created has the cause and the fix."""
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"Not a directory; choose another with --state-dir"):
        state_folder.lock(tmp_path / "file" / "folder")
