"""A non-blocking TCP connection, and the non-blocking lookup of a host's addresses."""

import errno
import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_CHUNK_BYTES = 4096
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),  # seconds without data until the first probe
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),  # milliseconds without an acknowledgement of sent data
)


class Link:
    """A connection, made in the background. Every method raises OSError if it fails or has ended."""

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
        """Return the descriptor to poll."""
        return self._socket.fileno()

    @property
    def poll_events(self) -> int:
        """The events of poll(2) to wait for."""
        if not self._connected:
            return select.POLLOUT
        return select.POLLIN | (select.POLLOUT if self._pending else 0)

    @property
    def pending_bytes(self) -> int:
        """The bytes sent that the kernel has not taken yet."""
        return len(self._pending)

    def connected(self) -> bool:
        """Tell whether the connection is established."""
        if not self._connected:
            _check(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            try:
                peer = self._socket.getpeername()
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    return False
                raise
            if peer == self._socket.getsockname():  # TCP connects a socket to itself if nobody listens on its own port
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            self._connected = True
        return True

    def send(self, data: bytes = b"") -> None:
        """Append data to what is pending, and send as much as the kernel takes."""
        self._pending += data
        if self._pending:
            with suppress(BlockingIOError):
                self._pending = self._pending[self._socket.send(self._pending) :]

    def receive(self) -> bytes:
        """Return up to 4 KiB of what has been received, b"" if nothing has. Raises ConnectionResetError at the end."""
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Lookup:
    """The addresses of a host. A name is looked up in a thread, which calls `done` at the end."""

    def __init__(self, host: str, port: int, done: Callable[[], None]) -> None:
        self._host, self._port, self._done = host, port, done
        self._result: list[tuple[int, Any]] | OSError | None = None
        try:
            self._result = self._resolve(socket.AI_NUMERICHOST)
        except OSError:  # a name, whose lookup may block for long
            try:
                threading.Thread(target=self._resolve_in_thread, daemon=True).start()
            except RuntimeError as error:
                self._result = OSError(str(error))

    def addresses(self) -> list[tuple[int, Any]] | None:
        """Return (family, address) of each, None while the lookup runs. Raises OSError."""
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
        # As bytes: of a str Python loads the tables of international names, a MiB of memory.
        host = self._host.encode() if self._host.isascii() else self._host
        try:
            entries = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM, flags=flags)
        except UnicodeError as error:
            raise OSError(f"{self._host!r} is not a valid host name") from error
        return [(family, address) for family, _, _, _, address in entries]


def _check(number: int, allowed: int = 0) -> None:
    """Raise OSError for an error number other than 0 and `allowed`."""
    if number not in (0, allowed):
        raise OSError(number, os.strerror(number))
