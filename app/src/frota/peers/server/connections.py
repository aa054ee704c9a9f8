"""The handler of one connection: the first bytes tell WebSocket from TCP, the first message tells who the caller is."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from frota.logs import log
from frota.net.buffer_limit import BufferLimit
from frota.net.tcp_server import State as TcpState
from frota.net.tcp_server import TcpConnection
from frota.net.token_bucket import TokenBucket
from frota.peers.protocol import websocket
from frota.peers.protocol.codec.dialects import Dialect, encode
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
_SLICE_BYTES = 4096  # of frames: so many are parsed before the rate limit is looked at
_BURST_S = 0.5  # of the rate limit: more than the time between two checks
_NOTHING: Iterator[None] = iter(())
_OPEN = (TcpState.OPEN, TcpState.HALF_CLOSED)


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
    buffers: BufferLimit
    event_log: EventLog
    request: Callable[["Connection", Request], None]  # of a client
    peer_message: Callable[["Connection", Message], None]  # of a server


class Connection:
    """Speaks the peers' protocol over one TCP connection; the link of a worker, the caller of a request."""

    __slots__ = (
        "_begun",
        "_bucket",
        "_buffering",
        "_errors",
        "_events",
        "_processing",
        "_services",
        "_side",
        "_tcp",
        "_unparsed",
        "_websocket",
        "pending",
    )

    def __init__(self, services: Services, tcp: TcpConnection) -> None:
        self._services, self._tcp = services, tcp
        self._side = ServerSide(tcp.name, max_bytes=services.settings.max_message_bytes)
        self._websocket: WebSocket | None = None
        self._begun = b""  # the first bytes, if they may be those of a handshake
        self._unparsed = 0  # bytes of frames
        self._errors = self.pending = 0  # requests that are not answered yet
        self._events: Iterator[Event | None] = _NOTHING  # received, and not processed yet
        self._processing = self._buffering = False
        self._bucket = TokenBucket(services.settings.messages_per_second, _BURST_S, tcp.opened_at)

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
        """Process input; what is above a limit waits, and nothing more is read meanwhile."""
        if self._events is _NOTHING:
            self._events = self._decode(data)
        else:
            self._events = chain(self._events, self._decode_later(data))
        self._process()

    @property
    def _buffered_bytes(self) -> int:
        if self._websocket is None:
            return self._side.buffered_bytes + len(self._begun)
        return self._websocket.buffered_bytes + self._unparsed

    def _decode(self, data: bytes) -> Iterator[Event | None]:
        """Return the messages in the input; None for frames without one."""
        if self._websocket is not None:
            return self._unframe(self._websocket, data)
        if self._side.state is not State.NEW or self._side.buffered_bytes:
            return self._side.events(data)
        return self._begin(self._begun + data)

    def _decode_later(self, data: bytes) -> Iterator[Event | None]:
        yield from self._decode(data)

    def _begin(self, data: bytes) -> Iterator[Event | None]:
        """Tell from the first bytes whether it is a WebSocket."""
        self._begun = b""
        role = self._side.role = role_of(self._tcp.common_name, mtls=self._services.mtls)
        if not data.startswith(HANDSHAKE[: len(data)]):
            return self._side.events(data)
        if len(data) < len(HANDSHAKE):
            self._begun = data
            return iter(())
        max_bytes = self._services.settings.max_message_bytes
        self._side = ServerSide(self.name, websocket=True, max_bytes=max_bytes)
        self._side.role = role
        self._websocket = websocket.server_side(max_bytes + _MAX_FRAMED)
        return self._unframe(self._websocket, data)

    def _unframe(self, socket: WebSocket, data: bytes) -> Iterator[Event | None]:
        for begin in range(0, len(data), _SLICE_BYTES):
            others, end = socket.other_frames, begin + _SLICE_BYTES
            self._unparsed = max(0, len(data) - end)
            for text in socket.receive(data[begin:end]):
                yield from self._side.receive_text(text)
            if others := socket.other_frames - others:
                self._bucket.take(others)
                yield None
            self._flush(socket)

    def _process(self) -> None:
        """Process events until there are none, or the caller has to wait: for answers, or for its rate limit."""
        if self._processing:
            return  # an answer within a request
        self._processing = True
        tcp, bucket = self._tcp, self._bucket
        try:
            for event in self._events:
                if event is not None:
                    bucket.take(self._handle(event))
                if bucket.left <= 0 or self.pending >= self._max_requests or tcp.state not in _OPEN:
                    break
            else:
                self._events = _NOTHING
        except Exception as error:  # noqa: BLE001 -- one caller's input must not cost the others their answers
            log.record("ERROR", "internal_error", "the connection is closed", error=error, PEER=self.name)
            tcp.abort("internal error")
        finally:
            self._processing = False
        if self._events is not _NOTHING or tcp.reading_paused:
            self._pause_or_resume()
        size = self._buffered_bytes
        if size or self._buffering:
            self._buffering = size > 0
            self._services.buffers.update(self, size)

    def _pause_or_resume(self) -> None:
        if self._tcp.state not in _OPEN:
            self._events = _NOTHING
        if self._events is _NOTHING:
            self._tcp.resume_reading()
            return
        if self._bucket.empty:
            self._services.event_log.rate_limited(self._tcp)
        self._tcp.pause_reading()

    @property
    def _max_requests(self) -> int:
        return self._services.settings.max_requests

    def _handle(self, event: Event) -> int:
        """Process an event; return how many tokens of the rate limit it costs. Reports of tasks cost none."""
        workers = self._services.workers
        if isinstance(event, Reports):
            self._begin_exchange()
            return 0 if workers.reports(self, event, self.dialect) else 1
        if isinstance(event, Rejected):
            self._reject(event)
        elif isinstance(event, WorkerAlive):
            workers.alive(self, event, self.dialect, named=event.worker != self.name)
        elif isinstance(event, WorkerLeaving):
            workers.leaving(event)
        elif isinstance(event, Request):
            self.pending += 1
            self._services.request(self, event)
        else:
            self._services.peer_message(self, event)
        return 1

    def _begin_exchange(self) -> None:
        self.pending += self.dialect is Dialect.C  # its answer comes after the commit

    def _reject(self, rejected: Rejected) -> None:
        self._errors += 1
        if rejected.forbidden:
            self._services.event_log.forbidden(self.name, rejected.reason)
        else:
            self._services.event_log.malformed(self._tcp, rejected.reason)
        self._write(rejected.answer)
        if rejected.fatal or self._errors > self._services.settings.max_errors:
            self._finish()

    def evict(self) -> None:
        """End the connection, which buffers more than any other one, and free its buffer."""
        reason = "the server's buffers are full: try again later"
        self._services.event_log.aborted(self._tcp, f"buffers more than any other connection: {reason}")
        self._write(encode(Refusal(reason), self.dialect) + (b"" if self._websocket else b"\n"))
        self._finish()
        self._events, self._begun = _NOTHING, b""
        self._side.stop()
        if self._websocket:
            self._websocket.stop()

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
        elif self._events is not _NOTHING and not self._bucket.empty:
            self._process()

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
        self._services.buffers.update(self, 0)
        self._services.workers.left(self, self._side.worker)

    def idle_timeout(self) -> float | None:
        """Return None before the first message. A legacy worker waits for a task without a word."""
        if self._side.state is State.NEW:
            return None
        lasting = self._side.state in (State.IDLE, State.BUSY, State.REDIRECTED)
        return math.inf if lasting or self.pending else self._services.settings.idle_timeout_s

    def check(self, now: float) -> None:
        """Process what was above the rate limit."""
        self._bucket.refill(self._services.settings.messages_per_second, now)
        if self._events is not _NOTHING and not self._bucket.empty and self.pending < self._max_requests:
            self._process()

    def drain(self) -> None:
        """Process no more input: close, everything is answered."""
        self._events = _NOTHING
        self._finish()
        self._tcp.resume_reading()  # to read the peer's end, for which the server waits
