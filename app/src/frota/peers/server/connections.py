"""The handler of one connection: the first bytes tell WebSocket from TCP, the first message tells who the caller is."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from frota.logs import log
from frota.net.tcp_server import State as TcpState
from frota.net.tcp_server import TcpConnection
from frota.peers.protocol import websocket
from frota.peers.protocol.codec.dialects import Dialect
from frota.peers.protocol.messages import Message, Refusal, ReportAck, Reports, WorkerAlive, WorkerLeaving
from frota.peers.protocol.requests import Request
from frota.peers.protocol.roles import role_of
from frota.peers.protocol.server_side import Event, Rejected, ServerSide
from frota.peers.protocol.states import State
from frota.peers.protocol.websocket import HANDSHAKE, WebSocket
from frota.peers.server.event_log import EventLog
from frota.peers.server.workers import Workers
from frota.peers.settings import ServerSettings

_MAX_FRAMED = 64  # bytes by which WebSocket frames may exceed their message


class Caller(Protocol):
    """A connection, as those see it who answer its requests."""

    @property
    def tcp(self) -> TcpConnection:
        """The TCP connection."""

    @property
    def dialect(self) -> Dialect:
        """The dialect of the caller."""

    def send(self, message: Message) -> None:
        """Send."""

    def answered(self) -> None:
        """Note that a request has got its answer."""


@dataclass
class Services:
    """What all connections share. `settings` are replaced by a reload; `mtls`: those in clear text are legacy ones."""

    settings: ServerSettings
    mtls: bool
    workers: Workers
    event_log: EventLog
    request: Callable[["Connection", Request], None]  # of a client
    peer_message: Callable[["Connection", Message], None]  # of a server


class Connection:
    """Speaks the peers' protocol over one TCP connection; the link of a worker, the caller of a request."""

    __slots__ = ("_begun", "_errors", "_services", "_side", "_tcp", "_websocket", "pending")

    def __init__(self, services: Services, tcp: TcpConnection) -> None:
        self._services, self._tcp = services, tcp
        self._side = ServerSide(tcp.name, max_bytes=services.settings.max_message_bytes)
        self._websocket: WebSocket | None = None
        self._begun = b""  # the first bytes, if they may be those of a handshake
        self._errors = self.pending = 0  # requests that are not answered yet

    @property
    def tcp(self) -> TcpConnection:
        """The TCP connection."""
        return self._tcp

    @property
    def name(self) -> str:
        """The peer as HOST:PORT."""
        return self._tcp.name

    @property
    def secure(self) -> bool:
        """Whether the peer is authenticated."""
        return self._tcp.common_name is not None

    @property
    def dialect(self) -> Dialect:
        """The dialect of the caller."""
        return self._side.dialect

    # Input

    def data_received(self, data: bytes) -> None:
        """Process input."""
        try:
            self._receive(data)
        except Exception as error:  # noqa: BLE001 -- one caller's input must not cost the others their answers
            log.record("ERROR", "internal_error", "the connection is closed", error=error, PEER=self.name)
            self._tcp.abort("internal error")

    def _receive(self, data: bytes) -> None:
        if self._websocket is not None:
            self._receive_frames(self._websocket, data)
        elif self._side.state is not State.NEW or self._side.buffered_bytes:
            self._handle(self._side.receive(data))
        else:
            self._receive_first(self._begun + data)

    def _receive_first(self, data: bytes) -> None:
        self._begun = b""
        role = self._side.role = role_of(self._tcp.common_name, mtls=self._services.mtls)
        if not data.startswith(HANDSHAKE[: len(data)]):
            self._handle(self._side.receive(data))
        elif len(data) < len(HANDSHAKE):
            self._begun = data
        else:
            max_bytes = self._services.settings.max_message_bytes
            self._side = ServerSide(self.name, websocket=True, max_bytes=max_bytes)
            self._side.role = role
            self._websocket = websocket.server_side(max_bytes + _MAX_FRAMED)
            self._receive_frames(self._websocket, data)

    def _receive_frames(self, socket: WebSocket, data: bytes) -> None:
        for text in socket.receive(data):
            self._handle(self._side.receive_text(text))
        self._flush(socket)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if self._tcp.state is TcpState.CLOSED:
                return
            if isinstance(event, Rejected):
                self._reject(event)
            elif isinstance(event, Reports):
                self._begin_exchange()
                self._services.workers.reports(self, event, self.dialect)
            elif isinstance(event, WorkerAlive):
                named = event.worker != self.name
                self._services.workers.alive(self, event, self.dialect, named=named)
            elif isinstance(event, WorkerLeaving):
                self._services.workers.leaving(event)
            elif isinstance(event, Request):
                self._request(event)
            else:
                self._services.peer_message(self, event)

    def _begin_exchange(self) -> None:
        self.pending += self.dialect is Dialect.C  # its answer comes after the commit

    def _request(self, request: Request) -> None:
        self.pending += 1
        if self.pending >= self._services.settings.max_requests:
            self._tcp.pause_reading()
        self._services.request(self, request)

    def _reject(self, rejected: Rejected) -> None:
        self._errors += 1
        if rejected.forbidden:
            self._services.event_log.forbidden(self.name, rejected.reason)
        else:
            self._services.event_log.malformed(self._tcp, rejected.reason)
        self._write(rejected.answer)
        if rejected.fatal or self._errors > self._services.settings.max_errors:
            self._finish()

    # Output

    def fits(self, kind: type[Message]) -> bool:
        """Tell whether a message of this kind may be sent now."""
        return self._tcp.state is TcpState.OPEN and self._side.fits(kind)

    def send(self, message: Message) -> None:
        """Send, unless the connection is closed."""
        if self._tcp.state in (TcpState.CLOSED, TcpState.LINGERING):
            return
        if data := self._side.send(message):
            self._write(data)
        if isinstance(message, ReportAck | Refusal) and self.dialect is Dialect.C and self.pending:
            self.answered()

    def answered(self) -> None:
        """Note that a request has got its answer; close if the caller has ended its side."""
        self.pending -= 1
        if self._tcp.state is TcpState.HALF_CLOSED and not self.pending:
            self._tcp.close()
        elif self.pending == self._services.settings.max_requests - 1:
            self._tcp.resume_reading()

    def end(self, reason: str) -> None:
        """Close at once; the reason is logged."""
        self._tcp.abort(reason)

    def _write(self, data: bytes) -> None:
        if self._websocket is None:
            self._tcp.write(data)
        else:
            self._websocket.send(data)
            self._flush(self._websocket)

    def _flush(self, socket: WebSocket) -> None:
        if data := socket.outgoing():
            self._tcp.write(data)
        if socket.ended:
            self._tcp.finish()

    def _finish(self) -> None:
        if self._websocket:
            self._websocket.close()
            self._flush(self._websocket)
        self._tcp.finish()

    # The handler's other events

    def eof_received(self) -> None:
        """Close, once every request is answered."""
        if not self.pending:
            self._tcp.close()

    def connection_lost(self) -> None:
        """Take the worker's tasks back."""
        self._services.workers.left(self, self._side.worker)

    def idle_timeout(self) -> float | None:
        """Return None before the first message. A legacy worker waits for a task without a word."""
        if self._side.state is State.NEW:
            return None
        lasting = self._side.state in (State.IDLE, State.BUSY, State.REDIRECTED)
        return math.inf if lasting or self.pending else self._services.settings.idle_timeout_s

    def check(self, now: float) -> None:
        """Enforce nothing: leases are those of tasks."""

    def drain(self) -> None:
        """Process no more input: close, everything is answered."""
        self._finish()
        self._tcp.resume_reading()  # to read the peer's end, for which the server waits
