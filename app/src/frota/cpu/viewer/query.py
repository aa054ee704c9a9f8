"""A client of the metrics server, which is untrusted: responses are bounded and validated."""

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
from frota.cpu.messages import VERSION
from frota.cpu.viewer.host_status import Host
from frota.logs.log import printable
from frota.net.addresses import endpoint

_RECEIVE_BYTES = 256 * 1024


class Limits(NamedTuple):
    """Timeouts, and the sizes of responses."""

    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 30.0  # without a byte of a response
    hosts_timeout_s: float = 60.0  # for the whole response with all hosts
    max_line_bytes: int = 8 * 1024 * 1024  # a chunk of samples of thousands of cores
    max_hosts_bytes: int = 64 * 1024 * 1024  # the response with all hosts: 50,000 with 64 cores


class Line(NamedTuple):
    """A line of a response, as received and parsed."""

    data: bytes
    fields: dict[str, Any]


class Client:
    """Sends requests over one connection, and connects again when that is lost."""

    def __init__(self, host: str, port: int, limits: Limits = Limits()) -> None:  # noqa: B008 -- immutable
        self.where = endpoint(host, port)
        self._limits = limits
        self._address = host, port
        self._connection: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def hosts(self) -> list[Host]:
        """Request all hosts. Raises ServerUnavailable and WrongServer."""
        hosts, size, max_bytes = [], 0, self._limits.max_hosts_bytes
        with closing(self._request({"ask": "hosts"}, time.monotonic() + self._limits.hosts_timeout_s)) as lines:
            for line in lines:
                if "host" not in line.fields:
                    raise self._wrong_server(line.data)
                hosts.append(Host(line.fields, line.data))
                size += len(line.data)
                if size > max_bytes:
                    raise WrongServer(f"{self.where}: the answer is longer than {max_bytes} bytes")
        return hosts

    def history(self, host: str, seconds: float) -> Iterator[dict[str, Any]]:
        """Request a host's samples of the last seconds, and yield chunks of columns. Raises as `hosts` does."""
        for line in self._request({"ask": "history", "host": host, "seconds": seconds}):
            yield line.fields

    def _request(self, request: dict[str, object], deadline: float = math.inf) -> Generator[Line, None, None]:
        """Send a request, and yield the lines of the response; close the connection unless all of it was read."""
        is_complete = False
        try:
            for line in self._lines(json.dumps({"frota": VERSION, **request}).encode() + b"\n", deadline):
                fields = self._parse(line)
                if "error" in fields:
                    raise ServerUnavailable(f"{self.where}: {printable(str(fields['error'])[:500])}")
                if fields.get("end") is True:
                    is_complete = True
                    return
                yield Line(line, fields)
        except OSError as error:
            if isinstance(error, ServerUnavailable | WrongServer):
                raise
            raise ServerUnavailable(f"{self.where}: {_reason(error)}") from None
        finally:
            if not is_complete:  # the rest of this response would be read as the response to the next request
                self.close()

    def _lines(self, request: bytes, deadline: float) -> Iterator[bytes]:
        rest = b""
        connection, data = self._send(request)
        while data:
            *lines, rest = (rest + data).split(b"\n") if b"\n" in data else [rest + data]
            yield from lines
            if len(rest) > self._limits.max_line_bytes or not rest.startswith(b"{"[: len(rest)]):
                raise self._wrong_server(rest)
            if time.monotonic() > deadline:
                timeout_s = self._limits.hosts_timeout_s
                raise ServerUnavailable(f"{self.where}: no end of the answer within {timeout_s:.0f} s")
            data = connection.recv(_RECEIVE_BYTES)
        raise ServerUnavailable(f"{self.where}: the server closed the connection")

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
        except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
            raise ServerUnavailable(f"no metrics server at {self.where}: {_reason(error)}") from None
        connection.settimeout(self._limits.idle_timeout_s)
        return connection

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            fields = None
        if not isinstance(fields, dict):
            raise self._wrong_server(line)
        return fields

    def _wrong_server(self, data: bytes) -> WrongServer:
        text = data[:60].decode(errors="replace")
        return WrongServer(f"{self.where} is no metrics server: it says {printable(repr(text))}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.strerror:
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error)
