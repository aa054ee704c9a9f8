"""What a service tells systemd, and takes from it."""

import os
import resource
import socket
from pathlib import Path

import pytest

from frota.core import systemd
from frota.core.errors import StateError
from frota.storage import state_folder


def test_a_notification_reaches_the_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.notify("READY=1", "STATUS=listening")
        assert manager.recv(1024) == b"READY=1\nSTATUS=listening"
        systemd.reloading()
        assert manager.recv(1024).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_an_abstract_address_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + manager.getsockname()[1:].decode())
        systemd.notify("READY=1")
        assert manager.recv(1024) == b"READY=1"


def test_a_watchdog_is_not_left_unfed_for_ever_by_one_moment_without_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        systemd.notify("WATCHDOG=1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.notify("READY=1")


def test_the_watchdogs_period_counts_only_if_it_is_meant_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2500000")
    assert systemd.watchdog_seconds() == 2.5
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert systemd.watchdog_seconds() is None
    monkeypatch.delenv("WATCHDOG_PID")
    monkeypatch.setenv("WATCHDOG_USEC", "0")
    assert systemd.watchdog_seconds() is None


def test_listening_sockets_of_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert systemd.listening_sockets() == []


def test_the_state_folder_is_systemds_first_or_one_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert state_folder.default_directory("unit") == Path("/var/lib/a")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("HOME", "/home/someone")
    assert state_folder.default_directory("unit") == Path("/home/someone/.local/state/frota/unit")


def test_a_state_folder_that_cannot_be_made_says_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"Not a directory; choose another with --state-dir"):
        state_folder.lock(tmp_path / "file" / "folder")
