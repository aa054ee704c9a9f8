"""What systemd and a service tell each other: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)."""

import os
import socket
import time
from contextlib import suppress


def notify(*lines: str) -> None:
    """Tell the service manager, when there is one: READY=1, STOPPING=1, STATUS=…, WATCHDOG=1."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    # A manager that does not listen is no reason to stop serving, nor is having no descriptor left at the moment.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1))


def reloading() -> None:
    """Say that a reload has begun (Type=notify-reload wants the monotonic clock, in µs)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """Return how often the service manager wants to hear from us at the latest, in seconds; None for never."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6


def listening_sockets() -> list[socket.socket]:
    """Take over the listening sockets that systemd opened for this process, if any."""
    count, pid = os.environ.pop("LISTEN_FDS", "0"), os.environ.pop("LISTEN_PID", "")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = [socket.socket(fileno=fd) for fd in range(3, 3 + int(count))]
    for sock in sockets:
        sock.set_inheritable(False)
        sock.setblocking(False)
    return sockets
