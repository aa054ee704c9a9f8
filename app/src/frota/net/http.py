"""HTTP for monitoring: GET /metrics and GET /healthz, one request per connection.

`Exchange` is the protocol, without I/O. `MonitoringServer` serves it on a port of its own, with limits that keep
slow, many or hostile clients away from the work of the service.
"""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from socket import socket
from typing import NamedTuple

import h11

from frota.logs import log
from frota.net import exposition
from frota.net.exposition import Metric
from frota.net.listen import sockets_at
from frota.net.tcp_server import Limits, State, TcpConnection, TcpServer

MAX_REQUEST_BYTES = 8192
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n"
_MAX_CONNECTIONS = 8  # Prometheus has one; the service keeps its descriptors for its own clients
_REQUEST_TIMEOUT_S, _RESPONSE_TIMEOUT_S = 10.0, 30.0
_SWEEP_S = 1.0


class BadRequest(ValueError):
    """The input is no HTTP request, or a larger one than MAX_REQUEST_BYTES."""


class Response(NamedTuple):
    """A response: its status, its media type and its content in chunks."""

    status: int
    media_type: str
    chunks: Iterable[bytes]


Routes = Mapping[bytes, Callable[[], Response]]


class Exchange:
    """One request and its response; `routes` make the responses to GET by path."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        self._request: h11.Request | None = None

    def receive(self, data: bytes) -> bool:
        """Process input; tell whether the request is complete. Raises BadRequest."""
        try:
            self._protocol.receive_data(data)
            event = self._protocol.next_event()
        except h11.RemoteProtocolError:
            raise BadRequest from None
        if event is h11.NEED_DATA:
            return False
        if not isinstance(event, h11.Request):
            raise BadRequest
        self._request = event
        return True

    async def respond(self) -> AsyncIterator[bytes]:
        """Yield the response to a complete request, in chunks; what fails before the first yield has sent nothing."""
        if self._request is None:
            raise BadRequest
        response = self._response(self._request)
        headers = [("Content-Type", response.media_type), ("Connection", "close")]
        if response.status == 405:
            headers.append(("Allow", "GET, HEAD"))
        chunks = iter(response.chunks)
        first = next(chunks, b"")
        yield self._protocol.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if self._request.method != b"HEAD":
            for chunk in itertools.chain([first], chunks):
                yield self._protocol.send(h11.Data(data=chunk)) or b""
                await asyncio.sleep(0)  # other connections first
        yield self._protocol.send(h11.EndOfMessage()) or b""

    def _response(self, request: h11.Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            return Response(405, "text/plain", [b"GET only\n"])
        route = self._routes.get(request.target.partition(b"?")[0])
        if route is None:
            paths = b"".join(b"GET %b\n" % path for path in self._routes)
            return Response(404, "text/plain", [paths])
        return route()


class MonitoringServer:
    """Serves a service's metrics at /metrics, and at /healthz whether it is alive.

    `healthy` must have no side effect; `more` returns further metrics in chunks of text. Raises ValueError for metrics
    that Prometheus's conventions do not allow.
    """

    def __init__(
        self,
        metrics: Iterable[Metric],
        healthy: Callable[[], bool],
        more: Callable[[], Iterable[bytes]] = tuple,
        *,
        request_timeout_s: float = _REQUEST_TIMEOUT_S,
        response_timeout_s: float = _RESPONSE_TIMEOUT_S,
    ) -> None:
        self._metrics = (*metrics, *exposition.process_metrics())
        exposition.check(self._metrics)
        self._healthy, self._more = healthy, more
        self._request_timeout_s, self._response_timeout_s = request_timeout_s, response_timeout_s
        self._tcp: TcpServer | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen at a port, 0 for none; without it the service works without metrics."""
        await self.serve(open_port(host, port))

    async def serve(self, sockets: list[socket]) -> None:
        """Serve listening sockets."""
        if sockets:
            limits = Limits(_MAX_CONNECTIONS, _MAX_CONNECTIONS, first_message_timeout_s=self._request_timeout_s)
            self._tcp = TcpServer(limits, _Unlogged(), _UNAVAILABLE, self._handler)
            await self._tcp.listen(sockets, _MAX_CONNECTIONS)
            self._sweeping = asyncio.get_running_loop().create_task(_sweep(self._tcp))

    async def stop(self) -> None:
        """Close the port and all connections at once."""
        if self._tcp and self._sweeping:
            self._tcp.stop_accepting()
            self._sweeping.cancel()
            await self._tcp.close(0)

    def metrics(self) -> Response:
        """Return the response to GET /metrics."""
        return Response(200, exposition.CONTENT_TYPE, self._chunks())

    def health(self) -> Response:
        """Return the response to GET /healthz."""
        if self._healthy():
            return Response(200, "text/plain", [b"ok\n"])
        return Response(503, "text/plain", [b"not healthy, see the journal\n"])

    def _handler(self, connection: TcpConnection) -> "_HttpConnection":
        exchange = Exchange({b"/metrics": self.metrics, b"/healthz": self.health})
        return _HttpConnection(connection, exchange, self._response_timeout_s)

    def _chunks(self) -> Iterator[bytes]:
        yield exposition.encode(self._metrics)
        yield from self._more()


def open_port(host: str, port: int) -> list[socket]:
    """Return listening sockets, none for port 0.

    If the port cannot be opened, there are none, and the log has a warning: monitoring must not stop what it monitors,
    and its absence is an alert by itself.
    """
    try:
        return sockets_at(host, port, _MAX_CONNECTIONS) if port else []
    except OSError as error:
        text = f"no metrics, the service works without: {error}; is another process at this address?"
        log.record("WARNING", "metrics_unavailable", text)
        return []


async def _sweep(tcp: TcpServer) -> None:
    while True:
        tcp.sweep()
        await asyncio.sleep(_SWEEP_S)


class _HttpConnection:
    """The handler of one connection: receives a request, and sends the response in a task."""

    def __init__(self, tcp: TcpConnection, exchange: Exchange, timeout_s: float) -> None:
        self._tcp, self._exchange, self._timeout_s = tcp, exchange, timeout_s
        self._sending: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Process input; whatever follows the request is ignored."""
        if self._sending:
            return
        try:
            if not self._exchange.receive(data):
                return
        except BadRequest:
            self._tcp.write(BAD_REQUEST)
            self._tcp.finish()
            return
        self._tcp.pause_reading()
        self._sending = asyncio.get_running_loop().create_task(self._send())

    def eof_received(self) -> None:
        """Close, unless a response is still to be sent."""
        if self._sending is None or self._sending.done():
            self._tcp.close()

    def connection_lost(self) -> None:
        """Stop sending."""
        if self._sending:
            self._sending.cancel()

    def idle_timeout(self) -> float | None:
        """Return no limit for a response, which has its own; None before the request is complete."""
        return math.inf if self._sending else None

    def check(self, now: float) -> None:
        """Enforce nothing."""

    def drain(self) -> None:
        """Close."""
        self._tcp.close()

    async def _send(self) -> None:
        self._tcp.set_write_watermark(0)  # one chunk at a time
        started = False
        try:
            async with asyncio.timeout(self._timeout_s):
                async for chunk in self._exchange.respond():
                    started = True
                    await self._tcp.send(chunk)
        except TimeoutError:
            self._tcp.abort()
        except Exception as error:  # noqa: BLE001 -- the edge of a task; the client gets an error or half a response
            log.record("ERROR", "internal_error", "metrics cannot be collected", error=error)
            if started:
                self._tcp.abort()
            else:
                self._tcp.write(_FAILED)
                self._end()
        else:
            self._end()

    def _end(self) -> None:
        if self._tcp.state is State.HALF_CLOSED:
            self._tcp.close()
        else:
            self._tcp.resume_reading()  # notices the end of the peer's side
            self._tcp.finish()


class _Unlogged:
    """Logs nothing: untrusted clients could fill the journal."""

    def connected(self, connection: TcpConnection, count: int) -> None:
        """Ignore."""

    def disconnected(self, connection: TcpConnection) -> None:
        """Ignore."""

    def rejected(self, connection: TcpConnection, max_connections: int) -> None:
        """Ignore."""

    def aborted(self, connection: TcpConnection, reason: str) -> None:
        """Ignore."""
