"""Admission control: limits the connections, and keeps file descriptors for the server's own files.

ZeroMQ accepts connections until the process has no descriptor left, and then retries without a pause: that uses a
CPU, logs nothing, and leaves no descriptor for log, snapshots and watchdog. So the soft limit of open files stops it
earlier. Then a filter on the listening sockets (socket(7), SO_ATTACH_FILTER) drops connection requests, which the
clients' kernels repeat, and the soft limit is raised, so that the connections already queued are accepted. When
connections have ended, the filter is removed.
"""

import asyncio
import os
import resource
import socket
import struct
from array import array
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from pathlib import Path

from frota.list.server.event_log import EventLog

_MIN_FILES = 48  # open files; the server itself needs about half of them
_SPARE_FILES = 64  # descriptors for files that the server opens later
_MAX_FILES = 2**20  # where there is no limit (fs.nr_open)
_RECHECK_S = 0.02  # waiting clients may have connected again by then
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h; Python has no names for them
# One instruction of classic BPF: return 0, which drops the packet.
_DROP_ALL = array("B", struct.pack("HBBI", 6, 0, 0, 0))


def require_descriptors() -> None:
    """Raise the soft limit of open files to the hard one. Raises OSError if that is too low for any client.

    ZeroMQ aborts the process if it has no descriptors.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < _MIN_FILES:
        raise OSError(
            f"{hard} open files are allowed, but {_MIN_FILES} needed: raise the limit (ulimit -n, LimitNOFILE=)"
        )
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Admission:
    """Limits the connections; create it when the server has opened all its files, before it binds its sockets."""

    def __init__(
        self, listeners: Collection[socket.socket], max_connections: int, backlog: int, event_log: EventLog
    ) -> None:
        self._listeners, self._event_log = listeners, event_log
        self._max_connections, self._backlog = max_connections, backlog
        used = _used()
        self._own_files = len(used) - 1  # without the one of _used itself
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        for listener in listeners:
            _detach_filter(listener)  # systemd may pass a socket on which a killed process left a filter
        self._plan()
        self._admit(used)

    @property
    def paused(self) -> bool:
        """Whether further clients wait."""
        return self._paused

    @property
    def connections(self) -> int:
        """The number of open connections, and of the few files that the server has opened since its start."""
        return len(_used()) - 1 - self._own_files

    @property
    def max_connections(self) -> int:
        """The limit of connections in force."""
        return self._connections

    def sweep(self) -> None:
        """Pause or resume accepting connections. Call it several times a second."""
        if resource.getrlimit(resource.RLIMIT_NOFILE) != (self._soft, self._hard):  # changed from outside: prlimit(1)
            self._plan()
            self._set_soft_limit(self._soft_limit_paused)
            with suppress(OSError):  # no descriptor may be left
                if not self._paused:
                    self._admit(_used())
        if self._paused:
            self._resume_if_possible()
        elif not _has_descriptor():
            self._pause()
            self._resume_if_possible()  # connections may have ended whose numbers are above the limit
            if self._paused:
                self._event_log.connection_limit_reached(self._connections, self._max_connections)

    def lift_limit(self) -> None:
        """Stop limiting: the graceful shutdown needs a descriptor for each connection."""
        if self._timer:
            self._timer.cancel()
        self._set_soft_limit(self._hard)

    def close(self) -> None:
        """Remove the filters, for the next process to which systemd passes the sockets, and close the sockets."""
        for listener in self._listeners:
            _detach_filter(listener)
            listener.close()

    def _plan(self) -> None:
        """Divide the hard limit into connections, queued connections, and descriptors for the server."""
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        available = (min(self._hard, _MAX_FILES) if self._hard >= 0 else _MAX_FILES) - self._own_files
        spare = max(0, min(_SPARE_FILES, available // 4))
        backlog = max(1, min(self._backlog, available // 4 // len(self._listeners)))
        queued = len(self._listeners) * (backlog + 1)  # the kernel queues one more than the backlog
        self._connections = max(0, min(self._max_connections, available - spare - queued))
        self._max_used = self._own_files + self._connections
        self._soft_limit_paused = self._max_used + queued + spare
        for listener in self._listeners:
            listener.listen(backlog)
        if self._connections < self._max_connections:
            self._event_log.descriptor_limit_low(self._hard, self._connections, self._max_connections)

    def _pause(self) -> None:
        self._paused = True
        for listener in self._listeners:
            _attach_drop_filter(listener)
        self._set_soft_limit(self._soft_limit_paused)

    def _resume_if_possible(self) -> None:
        try:
            used = _used()
        except OSError:  # the machine has no descriptor left
            return
        if len(used) - 1 < self._max_used and _has_descriptor():
            self._admit(used)
            self._timer = asyncio.get_running_loop().call_later(_RECHECK_S, self.sweep)

    def _admit(self, used: Collection[int]) -> None:
        self._paused = False
        self._set_soft_limit(_number_above(used, self._max_used - len(used)))
        for listener in self._listeners:
            _detach_filter(listener)

    def _set_soft_limit(self, soft: int) -> None:
        soft = min(soft, self._hard) if self._hard >= 0 else soft
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard))
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)


def _used() -> set[int]:
    """Return the descriptors of this process, including the one that this function opens."""
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def _has_descriptor() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _number_above(used: Collection[int], free: int) -> int:
    """Return the number below which `free` descriptors are unused."""
    for number in count():
        if number not in used:
            if free <= 0:
                return number
            free -= 1
    raise AssertionError


def _attach_drop_filter(listener: socket.socket) -> None:
    """Let the kernel drop connection requests; established connections are not affected."""
    address, _ = _DROP_ALL.buffer_info()  # ctypes needs executable memory, which the sandbox denies
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, address))


def _detach_filter(listener: socket.socket) -> None:
    with suppress(OSError):  # no filter is attached
        listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
