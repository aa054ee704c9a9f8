"""A TCP connection that nobody waits for, and names that are looked up without waiting, too."""

import errno
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

_WOULD_BLOCK = (errno.EAGAIN, errno.EINTR)
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),  # seconds without a word until the kernel asks
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),  # milliseconds that what was sent may stay unconfirmed
)


class Link:
    """A connection, or one that is being made. Raises OSError, here and in every method, where it fails or ends."""

    def __init__(self, family: int, address: Any) -> None:
        self._pending = b""
        self._connected = False
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            for option in _OPTIONS:
                self._socket.setsockopt(*option)
            _check(self._socket.connect_ex(address), allowed=errno.EINPROGRESS)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    @property
    def poll_events(self) -> int:
        """The events of poll(2) that would let it go on."""
        if not self._connected:
            return select.POLLOUT
        return select.POLLIN | (select.POLLOUT if self._pending else 0)

    @property
    def pending_bytes(self) -> int:
        """How much of what was sent the kernel has not taken yet."""
        return len(self._pending)

    def connected(self) -> bool:
        """Tell whether the connection stands."""
        if not self._connected:
            _check(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            try:
                peer = self._socket.getpeername()
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    return False
                raise
            if peer == self._socket.getsockname():  # TCP does that, where nobody listens on a port of clients
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            self._connected = True
        return True

    def send(self, data: bytes = b"") -> None:
        """Send after what is pending, as much as goes now."""
        self._pending += data
        if self._pending:
            try:
                self._pending = self._pending[self._socket.send(self._pending) :]
            except OSError as error:
                if error.errno not in _WOULD_BLOCK:
                    raise

    def receive(self) -> bytes:
        """Return what has come, at most 4 KiB; nothing is no end."""
        try:
            data = self._socket.recv(4096)
        except OSError as error:
            if error.errno not in _WOULD_BLOCK:
                raise
            return b""
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        return data

    def close(self) -> None:
        """Give it up."""
        self._socket.close()


class Lookup:
    """The addresses of a host; `done` is called, from another thread, when those of a name are there."""

    def __init__(self, host: str, port: int, done: Callable[[], None]) -> None:
        self._host, self._port, self._done = host, port, done
        self._result: list[tuple[int, Any]] | OSError | None = None
        try:
            self._result = self._resolve(socket.AI_NUMERICHOST)
        except OSError:  # a name: its lookup may take as long as it likes, nobody waits for it
            try:
                threading.Thread(target=self._resolve_in_thread, daemon=True).start()
            except RuntimeError as error:
                self._result = OSError(str(error))

    def addresses(self) -> list[tuple[int, Any]] | None:
        """Return (family, address) of each, None while they are looked up. Raises OSError."""
        if isinstance(self._result, OSError):
            raise self._result
        return self._result

    def _resolve_in_thread(self) -> None:
        try:
            self._result = self._resolve(0)
        except OSError as error:
            self._result = error
        self._done()

    def _resolve(self, flags: int) -> list[tuple[int, Any]]:
        # As bytes a plain name is not taken for an international one, whose tables are a MiB of memory.
        host = self._host.encode() if self._host.isascii() else self._host
        try:
            found = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM, flags=flags)
        except UnicodeError as error:
            raise OSError(f"{self._host!r} is no host name") from error
        return [(family, address) for family, _, _, _, address in found]


def _check(number: int, allowed: int = 0) -> None:
    if number not in (0, allowed):
        raise OSError(number, os.strerror(number))
