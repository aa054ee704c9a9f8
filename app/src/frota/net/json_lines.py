"""A client of servers that respond with JSON lines. The server is untrusted: responses are bounded and checked."""

import math
import socket
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple, Self

from frota.core.errors import ServerUnavailable, WrongServer
from frota.logs.log import printable
from frota.net.addresses import endpoint

_RECEIVE_BYTES = 256 * 1024
_SHOWN_BYTES = 60  # of a foreign server's response


class Limits(NamedTuple):
    """Timeouts in seconds, and the size of a line in bytes."""

    connect_timeout_s: float = 5.0
    idle_timeout_s: float | None = 30.0  # without a byte of a response; None: no limit
    max_line_bytes: int = 64 * 1024


class JsonLinesClient:
    """Sends requests over one connection, and connects again when that is lost."""

    def __init__(
        self,
        address: tuple[str, int],
        server: str,
        limits: Limits = Limits(),  # noqa: B008 -- immutable
        plain: tuple[bytes, ...] = (),
        secure: Callable[[socket.socket], socket.socket] | None = None,
    ) -> None:
        """Prepare a client of `server`, a noun for errors; lines begin with `{`, or with one of `plain`.

        `secure` puts TLS on a connected socket; it raises OSError.
        """
        self.where = endpoint(*address)
        self._address, self._server, self._limits, self._plain = address, server, limits, plain
        self._secure = secure
        self._connection: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection: the rest of a response would be read as the response to the next request."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def lines(self, request: bytes, timeout_s: float = math.inf) -> Iterator[bytes]:
        """Send a request, and yield the lines of the response without newlines, until the caller stops.

        `timeout_s` limits the whole response. Raises ServerUnavailable, also when the server closes the connection,
        and WrongServer as soon as the response cannot become one of such a server.
        """
        try:
            yield from self._lines(request, timeout_s, time.monotonic() + timeout_s)
        except (ServerUnavailable, WrongServer):
            raise
        except OSError as error:
            raise ServerUnavailable(f"{self.where}: {_reason(error)}") from None

    def _lines(self, request: bytes, timeout_s: float, deadline: float) -> Iterator[bytes]:
        rest = b""
        connection, data = self._send(request)
        while data:
            *lines, rest = (rest + data).split(b"\n") if b"\n" in data else [rest + data]
            for line in lines:
                if not line.startswith((b"{", *self._plain)):
                    raise self.wrong_server(line)
                yield line
            if len(rest) > self._limits.max_line_bytes or not self._may_become_a_line(rest):
                raise self.wrong_server(rest)
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"{self.where}: no end of the response within {timeout_s:.0f} s")
            data = connection.recv(_RECEIVE_BYTES)
        if self._plain and rest.startswith(self._plain):  # the reason of a rejected connection has no newline
            yield rest
        raise ServerUnavailable(f"{self.where}: the server closed the connection")

    def _may_become_a_line(self, rest: bytes) -> bool:
        return any(rest.startswith(prefix[: len(rest)]) for prefix in (b"{", *self._plain))

    def _send(self, request: bytes) -> tuple[socket.socket, bytes]:
        """Send a request, and return the first bytes of the response; retry once if the idle connection was lost."""
        if self._connection:
            try:
                self._connection.sendall(request)
                if data := self._connection.recv(_RECEIVE_BYTES):
                    return self._connection, data
            except ConnectionError:
                pass  # the server has restarted since the last request
            self.close()
        self._connection = self._connect()
        self._connection.sendall(request)
        return self._connection, self._connection.recv(_RECEIVE_BYTES)

    def _connect(self) -> socket.socket:
        try:
            connection = socket.create_connection(self._address, self._limits.connect_timeout_s)
            if self._secure:
                connection = self._secured(connection)
        except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
            raise ServerUnavailable(f"no {self._server} at {self.where}: {_reason(error)}") from None
        connection.settimeout(self._limits.idle_timeout_s)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def _secured(self, connection: socket.socket) -> socket.socket:
        try:
            return self._secure(connection) if self._secure else connection
        except BaseException:
            connection.close()
            raise

    def wrong_server(self, data: bytes) -> WrongServer:
        """Return the error for a line that no such server sends."""
        text = data[:_SHOWN_BYTES].decode(errors="replace")
        return WrongServer(f"{self.where} is no {self._server}: it answers {printable(repr(text))}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.strerror:
        return "no response in time"
    if isinstance(error, OSError) and type(error).__module__ == "ssl":
        from frota.net.tls import explain  # here: clients in clear text do without ssl

        return explain(error)
    return str(getattr(error, "strerror", None) or error)
