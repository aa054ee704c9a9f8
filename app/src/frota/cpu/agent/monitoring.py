"""GET /metrics and GET /healthz in the agent's loop: one connection at a time, without blocking.

The agent imports this module only with a port for metrics. Without h11, which would be a MiB of memory on every host:
two paths and no body are parsed by one expression.
"""

import math
import re
import select
import socket

from frota.logs import log
from frota.net import exposition
from frota.net.exposition import Metric

_REQUEST = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.[01]\r\n(?:[!-9;-~]+:[^\r\n]*\r\n)*\r\n")
_MAX_REQUEST_BYTES = 8192
_TIMEOUT_S = 2.0  # of a connection; the next ones wait in the backlog
_BACKLOG = 8
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class Monitoring:
    """Serves metrics; its owner polls `polled()` until `deadline` (monotonic seconds) and calls `step`."""

    def __init__(self, host: str, port: int, metrics: list[Metric]) -> None:
        self._metrics = [*metrics, *exposition.process_metrics()]
        exposition.check(self._metrics)
        self.deadline = math.inf
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._received = b""
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
            self._listener.setblocking(False)
        except OSError as error:
            text = f"no metrics, the service works without: {host}:{port}: {error}; is another process at this address?"
            log.record("WARNING", "metrics_unavailable", text)

    def polled(self) -> list[tuple[socket.socket, int]]:
        """Return what to poll, and for which events; nothing for a while after a failed accept."""
        waiting = self._connection or (self._listener if self.deadline == math.inf else None)
        return [(waiting, select.POLLIN)] if waiting else []

    def step(self, now: float) -> None:
        """Accept, receive and respond as far as possible without blocking."""
        try:
            if self._connection is None:
                self._accept(now)
            if self._connection and (now >= self.deadline or self._serve(self._connection)):
                self._close()
        except BlockingIOError:
            return
        except OSError:
            self._close()

    def _accept(self, now: float) -> None:
        if self._listener is None or now < self.deadline < math.inf:
            return
        self.deadline = math.inf
        try:
            self._connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left; without a pause the loop would spin
            self.deadline = now + _TIMEOUT_S
            return
        self._connection.setblocking(False)
        self._received, self.deadline = b"", now + _TIMEOUT_S

    def _serve(self, connection: socket.socket) -> bool:
        """Receive, and respond to a complete request; tell whether the connection is done. Raises OSError."""
        data = connection.recv(_MAX_REQUEST_BYTES)
        self._received += data
        incomplete = b"\r\n\r\n" not in self._received and len(self._received) < _MAX_REQUEST_BYTES
        if data and incomplete:
            return False
        if self._received:
            connection.send(self._response(self._received))  # a new connection's send buffer takes all of it
        return True

    def _response(self, request: bytes) -> bytes:
        match = _REQUEST.match(request)
        if match is None:
            return _encode(400, b"")
        if match[1] not in (b"GET", b"HEAD"):
            return _encode(405, b"GET only\n")
        path = match[2].partition(b"?")[0]
        if path not in (b"/metrics", b"/healthz"):
            return _encode(404, b"GET /metrics\nGET /healthz\n")
        content = exposition.encode(self._metrics) if path == b"/metrics" else b"ok\n"
        media_type = exposition.CONTENT_TYPE if path == b"/metrics" else "text/plain"
        return _encode(200, content if match[1] == b"GET" else b"", media_type)

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection, self.deadline = None, math.inf


def _encode(status: int, content: bytes, media_type: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {media_type}\r\nConnection: close\r\n\r\n"
    return head.encode() + content
