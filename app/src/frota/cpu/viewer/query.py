"""Queries to the metrics server, which is untrusted: responses are bounded and validated."""

import json
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from frota.core.errors import ServerUnavailable, WrongServer
from frota.cpu.messages import VERSION
from frota.cpu.viewer.host_status import Host
from frota.logs.log import printable
from frota.net import json_lines
from frota.net.json_lines import JsonLinesClient

# A line holds a chunk of samples of thousands of cores.
_LIMITS = json_lines.Limits(max_line_bytes=8 * 1024 * 1024)


class Line(NamedTuple):
    """A line of a response, as received and parsed."""

    data: bytes
    fields: dict[str, Any]


class Client:
    """Sends queries over one connection.

    The response with all hosts may take `hosts_timeout_s`, and have `max_hosts_bytes`: 50,000 hosts with 64 cores.
    """

    def __init__(
        self,
        host: str,
        port: int,
        limits: json_lines.Limits = _LIMITS,
        hosts_timeout_s: float = 60.0,
        max_hosts_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._client = JsonLinesClient((host, port), "metrics server", limits)
        self._hosts_timeout_s = hosts_timeout_s
        self._max_hosts_bytes = max_hosts_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The server, HOST:PORT."""
        return self._client.where

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def hosts(self) -> list[Host]:
        """Request all hosts. Raises ServerUnavailable and WrongServer."""
        hosts, size = [], 0
        with closing(self._request({"ask": "hosts"}, self._hosts_timeout_s)) as lines:
            for line in lines:
                if "host" not in line.fields:
                    raise self._client.wrong_server(line.data)
                hosts.append(Host(line.fields, line.data))
                size += len(line.data)
                if size > self._max_hosts_bytes:
                    raise WrongServer(f"{self.where}: the response is longer than {self._max_hosts_bytes} bytes")
        return hosts

    def history(self, host: str, seconds: float) -> Iterator[dict[str, Any]]:
        """Request a host's samples of the last seconds, and yield chunks of columns. Raises as `hosts` does."""
        for line in self._request({"ask": "history", "host": host, "seconds": seconds}):
            yield line.fields

    def _request(self, request: dict[str, object], timeout_s: float = math.inf) -> Generator[Line, None, None]:
        """Send a request, and yield the lines of the response; close the connection unless all of it was read."""
        is_complete = False
        try:
            for line in self._client.lines(json.dumps({"frota": VERSION, **request}).encode() + b"\n", timeout_s):
                fields = self._parse(line)
                if "error" in fields:
                    raise ServerUnavailable(f"{self.where}: {printable(str(fields['error'])[:500])}")
                if fields.get("end") is True:
                    is_complete = True
                    return
                yield Line(line, fields)
        finally:
            if not is_complete:
                self.close()

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            fields = None
        if not isinstance(fields, dict):
            raise self._client.wrong_server(line)
        return fields
