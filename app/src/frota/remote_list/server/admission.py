"""Admission control: as many connections as there may be, and descriptors left for the server's own files.

ZeroMQ accepts until the process has no descriptor left, and then tries again without a pause: that costs a processor,
logs nothing, and keeps journal, snapshots and watchdog from opening anything. So the kernel stops it earlier, at a soft
limit of open files that leaves some to us. Once it is reached, the listening sockets get a filter (socket(7),
SO_ATTACH_FILTER) that drops requests to connect, which the kernels of clients repeat; the limit is raised, so that who
had arrived by then is let in; and when connections have ended, the filter is taken away again.
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

from frota.remote_list.server.event_log import EventLog

_MIN_FILES = 48  # open files, of which about half are the server's
_SPARE_FILES = 64  # descriptors for our own work, beyond what is open at the start
_MAX_FILES = 2**20  # what no limit at all amounts to (fs.nr_open)
_RECHECK_S = 0.02  # seconds after which waiting clients may have filled the free places again
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h; Python has no names for them
# One instruction of classic BPF: return 0, keep nothing of the packet.
_DROP_ALL = array("B", struct.pack("HBBI", 6, 0, 0, 0))


def require_descriptors() -> None:
    """Allow as many descriptors as there may be. Raises OSError where a server, and a few clients, need more.

    Without them ZeroMQ does not fail, but aborts the process.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < _MIN_FILES:
        raise OSError(
            f"{hard} open files are allowed, but {_MIN_FILES} needed: raise the limit (ulimit -n, LimitNOFILE=)"
        )
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Admission:
    """Watches over the descriptors of this process; made when the server has opened all else, before it is bound."""

    def __init__(
        self, listeners: Collection[socket.socket], max_connections: int, backlog: int, event_log: EventLog
    ) -> None:
        self._listeners, self._max_connections, self._backlog, self._event_log = (
            listeners,
            max_connections,
            backlog,
            event_log,
        )
        used = _used()
        self._own_files = len(used) - 1  # without the one to look with
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        for listener in listeners:
            _detach_filter(
                listener
            )  # a process before this one, of which systemd has kept the socket, may have been full at its end
        self._plan()
        self._admit(used)

    def sweep(self) -> None:
        """Stop or go on letting connections in (call it several times a second)."""
        if resource.getrlimit(resource.RLIMIT_NOFILE) != (self._soft, self._hard):  # somebody else's doing: prlimit(1)
            self._plan()
            self._set_soft_limit(self._soft_limit_paused)
            with suppress(OSError):  # there may be none left to look with
                if not self._paused:
                    self._admit(_used())
        if self._paused:
            self._resume_if_possible()
        elif not _has_descriptor():
            self._pause()
            self._resume_if_possible()  # some may have ended meanwhile, whose numbers are above the limit
            if self._paused:
                self._event_log.connection_limit_reached(self._connections, self._max_connections)

    def lift_limit(self) -> None:
        """Watch no more, and allow all descriptors that there may be: the end takes some for each connection."""
        if self._timer:
            self._timer.cancel()
        self._set_soft_limit(self._hard)

    def close(self) -> None:
        """Leave the listening sockets as they were, for the next process where systemd keeps them."""
        for listener in self._listeners:
            _detach_filter(listener)
            listener.close()

    def _plan(self) -> None:
        """Share out what the hard limit allows: connections, those that wait to be accepted, and our own work."""
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        left = (min(self._hard, _MAX_FILES) if self._hard >= 0 else _MAX_FILES) - self._own_files
        spare = max(0, min(_SPARE_FILES, left // 4))
        backlog = max(1, min(self._backlog, left // 4 // len(self._listeners)))
        queued = len(self._listeners) * (backlog + 1)  # the kernel queues one more than the backlog
        self._connections = max(0, min(self._max_connections, left - spare - queued))
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
        except OSError:  # the whole machine has none left
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
    """Return the numbers of the descriptors that this process has, the one to read them with included."""
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def _has_descriptor() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _number_above(used: Collection[int], free: int) -> int:
    """Return the number below which so many descriptors are free."""
    for number in count():
        if number not in used:
            if free <= 0:
                return number
            free -= 1
    raise AssertionError


def _attach_drop_filter(listener: socket.socket) -> None:
    """Have the kernel drop whatever wants to connect; connections that stand are not concerned."""
    address, _ = _DROP_ALL.buffer_info()  # ctypes would know it too, but wants memory that can be executed
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, address))


def _detach_filter(listener: socket.socket) -> None:
    with suppress(OSError):  # there was no filter
        listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
