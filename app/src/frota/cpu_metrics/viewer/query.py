"""Asking a metrics server; whatever answers there instead is told by its first bytes."""

import json
import math
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from frota.core.errors import ServerUnavailable, WrongServer
from frota.cpu_metrics.messages import VERSION
from frota.cpu_metrics.viewer.host_status import Host
from frota.logs.log import printable
from frota.net.addresses import endpoint

_CONNECT_SECONDS = 5.0
_QUIET_SECONDS = 30.0  # without a byte of an answer
_HOSTS_SECONDS = 60.0  # until the end of the answer with all hosts, however little comes at a time
_LONGEST = 8 * 1024 * 1024  # bytes of a line: a stretch of samples of thousands of cores
_MOST = 64 * 1024 * 1024  # bytes of the answer with all hosts: 50,000 with 64 cores


class Line(NamedTuple):
    """A line of an answer, as it came and as it is read."""

    data: bytes
    fields: dict[str, Any]


class Client:
    """A conversation with a server, over one connection as long as it lasts; the next request makes a new one."""

    def __init__(self, host: str, port: int) -> None:
        self.where = endpoint(host, port)
        self._address = host, port
        self._connection: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def hosts(self) -> list[Host]:
        """Ask for all hosts. Raises ServerUnavailable and WrongServer."""
        found, taken = [], 0
        with closing(self._ask({"ask": "hosts"}, time.monotonic() + _HOSTS_SECONDS)) as lines:
            for line in lines:
                if "host" not in line.fields:
                    raise self._strange(line.data)
                found.append(Host(line.fields, line.data))
                taken += len(line.data)
                if taken > _MOST:
                    raise WrongServer(f"{self.where}: the answer is longer than {_MOST} bytes")
        return found

    def history(self, host: str, seconds: float) -> Iterator[dict[str, Any]]:
        """Ask for a host's samples of the last seconds, and yield them in columns. Raises as `hosts` does."""
        for line in self._ask({"ask": "history", "host": host, "seconds": seconds}):
            yield line.fields

    def _ask(self, request: dict[str, object], ends: float = math.inf) -> Generator[Line, None, None]:
        """Ask, and yield the lines of the answer; hang up unless it was read to its end."""
        whole = False
        try:
            for line in self._lines(json.dumps({"frota": VERSION, **request}).encode() + b"\n", ends):
                fields = self._read(line)
                if "error" in fields:
                    raise ServerUnavailable(f"{self.where}: {printable(str(fields['error'])[:500])}")
                if fields.get("end") is True:
                    whole = True
                    return
                yield Line(line, fields)
        except OSError as error:
            if isinstance(error, ServerUnavailable | WrongServer):
                raise
            raise ServerUnavailable(f"{self.where}: {_reason(error)}") from None
        finally:
            if not whole:  # what is left of the answer would be taken for that to the next request
                self.close()

    def _lines(self, request: bytes, ends: float) -> Iterator[bytes]:
        rest = b""
        connection, piece = self._send(request)
        while piece:
            *whole, rest = (rest + piece).split(b"\n") if b"\n" in piece else [rest + piece]
            yield from whole
            if len(rest) > _LONGEST or not rest.startswith(b"{"[: len(rest)]):
                raise self._strange(rest)
            if time.monotonic() > ends:
                raise ServerUnavailable(f"{self.where}: no end of the answer within {_HOSTS_SECONDS:.0f} s")
            piece = connection.recv(262144)
        raise ServerUnavailable(f"{self.where}: the server closed the connection")

    def _send(self, request: bytes) -> tuple[socket.socket, bytes]:
        """Send a request, and return the first bytes of the answer; what an idle connection lost is asked anew."""
        if self._connection:
            try:
                self._connection.sendall(request)
                if piece := self._connection.recv(262144):
                    return self._connection, piece
            except ConnectionError:
                pass  # the server was started anew meanwhile
            self.close()
        self._connection = self._connected()
        self._connection.sendall(request)
        return self._connection, self._connection.recv(262144)

    def _connected(self) -> socket.socket:
        try:
            connection = socket.create_connection(self._address, _CONNECT_SECONDS)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
            raise ServerUnavailable(f"no metrics server at {self.where}: {_reason(error)}") from None
        connection.settimeout(_QUIET_SECONDS)
        return connection

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise self._strange(line)
        return found

    def _strange(self, data: bytes) -> WrongServer:
        said = data[:60].decode(errors="replace")
        return WrongServer(f"{self.where} is no metrics server: it says {printable(repr(said))}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.strerror:
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error)
