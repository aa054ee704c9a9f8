"""A TCP server: admission control, timeouts, backpressure, half-close, linger and drain.

`TcpServer` accepts connections and creates a `Handler` for each of them. A handler speaks one protocol; it knows its
`TcpConnection` and nothing of the server.
"""

import asyncio
import math
import resource
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from socket import socket
from typing import Protocol, cast

from frota.logs import log
from frota.net.addresses import endpoint, plain

_RESERVED_DESCRIPTORS = 128  # for files, the event loop and its threads: whatever is no connection
_MIN_RESERVED_DESCRIPTORS = 64  # if the limit of open files is low
_UNREAD, _OVERLOAD, _HANDLER = 1, 2, 4  # reasons to pause reading, as bits


class State(Enum):
    """Which sides of a connection may send."""

    OPEN = "both sides"
    HALF_CLOSED = "our side; the peer has ended its own"
    LINGERING = "the peer; our side has ended, and the peer has time to read the last answer"
    CLOSED = "neither side"


class _Step(Enum):
    PEER_ENDED = 1
    FINISHED = 2


_NEXT_STATE = {
    (State.OPEN, _Step.PEER_ENDED): State.HALF_CLOSED,
    (State.OPEN, _Step.FINISHED): State.LINGERING,
    (State.HALF_CLOSED, _Step.FINISHED): State.CLOSED,
    (State.LINGERING, _Step.PEER_ENDED): State.CLOSED,
}
_OPEN, _LINGERING = State.OPEN, State.LINGERING  # looked up once: an enum costs a call each time


@dataclass(frozen=True)
class Limits:
    """What a server grants its connections; all times are in seconds.

    `unread_timeout_s` is how long a peer may be slow: in this time it has to read `min_bytes_per_s` of a full write
    buffer on average, and one byte at least.
    """

    max_connections: int
    max_rejected: int = 0  # rejected connections that may linger
    first_message_timeout_s: float = math.inf
    unread_timeout_s: float = 30.0
    min_bytes_per_s: float = 0.0
    linger_s: float = 2.0


class Handler(Protocol):
    """Speaks the protocol of one connection. The event loop calls it, never two methods at once."""

    def data_received(self, data: bytes) -> None:
        """Process input. Not called once either side has ended."""

    def eof_received(self) -> None:
        """Process the end of the input: `close` or `finish` the connection when everything is answered."""

    def connection_lost(self) -> None:
        """Release what belongs to the connection."""

    def idle_timeout(self) -> float | None:
        """Return how long the peer may send nothing, in seconds; None before its first valid message."""

    def check(self, now: float) -> None:
        """Enforce the protocol's own time limits; `now` is the loop's time. Called at each sweep."""

    def drain(self) -> None:
        """Process no more input, answer what has been received, then close."""


class Observer(Protocol):
    """Logs and counts what happens to connections."""

    def connected(self, connection: "TcpConnection", count: int) -> None:
        """Note an accepted connection; `count` includes it."""

    def disconnected(self, connection: "TcpConnection") -> None:
        """Note the end of an accepted connection."""

    def rejected(self, connection: "TcpConnection", max_connections: int) -> None:
        """Note a connection above the limit."""

    def aborted(self, connection: "TcpConnection", reason: str) -> None:
        """Note that the server ends a connection."""


class CoarseClock:
    """The event loop's time at the last sweep: good enough for timeouts, and free to read."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now


class Watermarks:
    """Backpressure: `pause` above `high` queued bytes or records, `resume` at `low` or less."""

    __slots__ = ("_high", "_low", "_pause", "_paused", "_resume")

    def __init__(self, high: int, low: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._high, self._low, self._pause, self._resume = high, low, pause, resume
        self._paused = False

    @property
    def exceeded(self) -> bool:
        """Whether reading is paused."""
        return self._paused

    def update(self, queued: int) -> None:
        """Compare what is queued now with the watermarks."""
        if self._paused:
            if queued <= self._low:
                self._paused = False
                self._resume()
        elif queued > self._high:
            self._paused = True
            self._pause()


class TcpConnection(asyncio.Protocol):
    """One connection, as its handler sees it."""

    __slots__ = (
        "_admission",
        "_clock",
        "_finished_at",
        "_handler",
        "_pause_reasons",
        "_transport",
        "_unread_bytes",
        "_unread_since",
        "_writable",
        "address",
        "last_received",
        "opened_at",
        "state",
    )

    def __init__(self, admission: "Admission", clock: CoarseClock) -> None:
        self._admission, self._clock = admission, clock
        self._handler: Handler = _NO_HANDLER
        self._transport: asyncio.Transport | None = None
        self._pause_reasons = 0
        self._unread_since: float | None = None  # since when the write buffer is above its high watermark
        self._unread_bytes = self._finished_at = 0.0
        self._writable: asyncio.Event | None = None
        self.state = State.OPEN
        self.address: tuple[str, int] = ("?", 0)
        self.opened_at = self.last_received = clock.now

    @property
    def name(self) -> str:
        """The peer as HOST:PORT."""
        return endpoint(*self.address)

    @property
    def common_name(self) -> str | None:
        """The common name of the peer's certificate, "" before the end of the TLS handshake; None in clear text."""
        return None

    def restart_idle_timeout(self) -> None:
        """Count the idle timeout from now on."""
        self.last_received = self._clock.now

    @property
    def reading_paused(self) -> bool:
        """Whether nothing is read from the peer at the moment."""
        return self._pause_reasons != 0

    def write(self, data: bytes) -> None:
        """Send, unless our side has ended."""
        transport = self._transport
        if transport is not None and self.state is not _LINGERING and not transport.is_closing():
            transport.write(data)

    async def send(self, data: bytes) -> None:
        """Send, and wait while the write buffer is above its high watermark."""
        self.write(data)
        if self._unread_since is not None:
            if self._writable is None:
                self._writable = asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    def set_write_watermark(self, high: int) -> None:
        """Set how many bytes of unread answers pause `send`, and reading from the peer."""
        if self._transport:
            self._transport.set_write_buffer_limits(high)

    def pause_reading(self) -> None:
        """Read nothing more until `resume_reading`."""
        self._pause(_HANDLER)

    def resume_reading(self) -> None:
        """Read again, unless there is another reason not to."""
        self._resume(_HANDLER)

    def finish(self) -> None:
        """End our side. The peer gets time to read the last answer: a close at once could reset the connection."""
        if (self.state, _Step.FINISHED) not in _NEXT_STATE:
            return
        self.state = _NEXT_STATE[self.state, _Step.FINISHED]
        if self.state is State.CLOSED:
            self.close()
        elif self._transport and not self._transport.is_closing():
            self._transport.write_eof()
            self._finished_at = self._clock.now

    def close(self) -> None:
        """Send what is written, then close."""
        self.state = State.CLOSED
        if self._transport:
            self._transport.close()

    def abort(self, reason: str = "") -> None:
        """Close at once, whatever is unsent; a reason is reported to the observer."""
        if reason:
            self._admission.observer.aborted(self, reason)
        self.state = State.CLOSED  # before the transport: input that is queued already is not processed
        if self._transport:
            self._transport.abort()

    def check(self, limits: Limits, now: float) -> None:
        """Enforce the time limits."""
        if self.state is State.LINGERING and now - self._finished_at > limits.linger_s:
            self.abort()
        elif self._unread_since is not None and self._reads_too_slowly(limits, self._unread_since, now):
            self._admission.timeouts["unread"] += 1
            self.abort(f"has not read its answers for {limits.unread_timeout_s:g} s")
        elif self.state is State.OPEN:
            if self._pause_reasons:
                self.last_received = now
            if expired := self._expired(limits, now):
                timeout, reason = expired
                self._admission.timeouts[timeout] += 1
                self._admission.observer.aborted(self, reason)
                self.finish()
            else:
                self._handler.check(now)

    def drain(self) -> None:
        """Have the handler answer what it has received, and close."""
        self._handler.drain()

    def pause_for_overload(self) -> None:
        """Read nothing more until the server has processed what it holds."""
        self._pause(_OVERLOAD)

    def resume_after_overload(self) -> None:
        """Read again, unless there is another reason not to."""
        self._resume(_OVERLOAD)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Create the handler, or reject the connection."""
        self._transport = cast("asyncio.Transport", transport)
        host, port = (transport.get_extra_info("peername") or self.address)[:2]
        self.address = (plain(host), port)
        self._handler = self._admission.admit(self) or _NO_HANDLER

    def data_received(self, data: bytes) -> None:
        """Hand input to the handler; discard it while the connection ends."""
        if self.state is _OPEN:
            self.last_received = self._clock.now
            self._handler.data_received(data)

    def eof_received(self) -> bool:
        """Note the end of the peer's side; the handler closes the connection."""
        if self.state is State.HALF_CLOSED:
            return True  # its side of TLS has ended before
        self.state = _NEXT_STATE.get((self.state, _Step.PEER_ENDED), self.state)
        if self.state is State.HALF_CLOSED:
            self._handler.eof_received()
        else:
            self.close()
        return True  # False would close the transport before the last answers are written

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- why the peer is gone changes nothing
        """Release the connection."""
        self.state, self._transport = State.CLOSED, None
        if self._writable:
            self._writable.set()
        self._handler.connection_lost()
        self._admission.release(self)

    def pause_writing(self) -> None:
        """Read nothing from a peer that does not read its answers."""
        self._unread_since, self._unread_bytes = self._clock.now, 0.0
        self._pause(_UNREAD)

    def resume_writing(self) -> None:
        """Go on: the peer has read its answers."""
        self._unread_since = None
        if self._writable:
            self._writable.set()
        self._resume(_UNREAD)

    def _pause(self, reason: int) -> None:
        if not self._pause_reasons and self._transport and not self._transport.is_closing():
            self._transport.pause_reading()
        self._pause_reasons |= reason

    def _resume(self, reason: int) -> None:
        if self._pause_reasons == reason and self._transport and not self._transport.is_closing():
            self._transport.resume_reading()
        self._pause_reasons &= ~reason

    def _expired(self, limits: Limits, now: float) -> tuple[str, str] | None:
        """Return the timeout that has expired and the reason in words."""
        timeout = self._handler.idle_timeout()
        if timeout is None:
            if now - self.opened_at > limits.first_message_timeout_s:
                return "first_message", f"sent no valid message within {limits.first_message_timeout_s:g} s"
        elif now - self.last_received > timeout:
            return "idle", f"sent nothing for {timeout:g} s"
        return None

    def _reads_too_slowly(self, limits: Limits, since: float, now: float) -> bool:
        """Compare the write buffer at the end of each timeout with its largest size in it."""
        size = self._transport.get_write_buffer_size() if self._transport else 0
        self._unread_bytes = max(self._unread_bytes, size)
        if now - since <= limits.unread_timeout_s:
            return False
        read = self._unread_bytes - size
        self._unread_since, self._unread_bytes = now, size
        return read < max(1, limits.min_bytes_per_s * limits.unread_timeout_s)


class _NoHandler:
    """Ignores everything: the handler of a rejected connection."""

    def data_received(self, data: bytes) -> None:
        """Ignore."""

    def eof_received(self) -> None:
        """Ignore."""

    def connection_lost(self) -> None:
        """Ignore."""

    def idle_timeout(self) -> float | None:
        """Return no limit."""
        return math.inf

    def check(self, now: float) -> None:
        """Ignore."""

    def drain(self) -> None:
        """Ignore."""


_NO_HANDLER = _NoHandler()


class Admission:
    """Admission control: which connections are accepted, and which are rejected with `rejection` as their answer.

    A rejected connection lingers, so that its peer can read why. At most `max_rejected` of them linger at once; above
    that the oldest is closed.
    """

    def __init__(
        self, limits: Limits, observer: Observer, rejection: bytes, handler: Callable[[TcpConnection], Handler]
    ) -> None:
        self.limits, self.observer = limits, observer
        self.accepted: set[TcpConnection] = set()
        self.rejected: dict[TcpConnection, None] = {}  # ordered by age
        self.timeouts = dict.fromkeys(("first_message", "idle", "unread"), 0)  # how many connections each has ended
        self.overloaded = False
        self._rejection, self._handler = rejection, handler

    def admit(self, connection: TcpConnection) -> Handler | None:
        """Return the handler of a new connection; None if it is one too many."""
        if len(self.accepted) >= self.limits.max_connections:
            self._reject(connection)
            return None
        self.accepted.add(connection)
        # Later: the transport begins to read only after this.
        asyncio.get_running_loop().call_soon(self._pause_if_overloaded, connection)
        handler = self._handler(connection)
        self.observer.connected(connection, len(self.accepted))
        return handler

    def release(self, connection: TcpConnection) -> None:
        """Make room for another connection."""
        self.rejected.pop(connection, None)
        if connection in self.accepted:
            self.accepted.remove(connection)
            self.observer.disconnected(connection)

    def _reject(self, connection: TcpConnection) -> None:
        self.rejected[connection] = None
        self.observer.rejected(connection, self.limits.max_connections)
        connection.write(self._rejection)
        connection.finish()
        if len(self.rejected) > self.limits.max_rejected:
            oldest = next(iter(self.rejected))
            del self.rejected[oldest]
            oldest.abort()

    def _pause_if_overloaded(self, connection: TcpConnection) -> None:
        if self.overloaded:
            connection.pause_for_overload()


class TcpServer:
    """Listens, and looks after all connections; `rejection` is the answer to one above `max_connections`."""

    def __init__(
        self, limits: Limits, observer: Observer, rejection: bytes, handler: Callable[[TcpConnection], Handler]
    ) -> None:
        self._admission = Admission(limits, observer, rejection, handler)
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.Server] = []
        self.clock = CoarseClock(self._loop.time())

    async def listen(
        self,
        sockets: Iterable[socket],
        backlog: int,
        make: Callable[[Admission, CoarseClock], TcpConnection] = TcpConnection,
    ) -> list[str]:
        """Accept connections on listening sockets, as `make` makes them; return their addresses as HOST:PORT."""
        protocol = partial(self.connection, make)
        servers = [await self._loop.create_server(protocol, sock=sock, backlog=backlog) for sock in sockets]
        self._servers += servers
        return [endpoint(*sock.getsockname()[:2]) for server in servers for sock in server.sockets]

    def connection(self, make: Callable[[Admission, CoarseClock], TcpConnection] = TcpConnection) -> TcpConnection:
        """Return the protocol of a new connection."""
        return make(self._admission, self.clock)

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._admission.limits

    @property
    def connections(self) -> list[TcpConnection]:
        """The accepted connections."""
        return list(self._admission.accepted)

    @property
    def timeouts(self) -> dict[str, int]:
        """How many connections each timeout has ended."""
        return self._admission.timeouts

    @property
    def connection_count(self) -> int:
        """The number of accepted connections."""
        return len(self._admission.accepted)

    def configure(self, limits: Limits) -> None:
        """Change the limits."""
        self._admission.limits = limits

    def sweep(self) -> None:
        """Set the clock and enforce the time limits: call it several times within the shortest of them."""
        self.clock.now = self._loop.time()
        for connection in [*self._admission.accepted, *self._admission.rejected]:
            connection.check(self._admission.limits, self.clock.now)

    def pause_reading(self) -> None:
        """Read nothing more from any connection, present or future, until `resume_reading`."""
        self._admission.overloaded = True
        for connection in self._admission.accepted:
            connection.pause_for_overload()

    def resume_reading(self) -> None:
        """Read from all connections again."""
        self._admission.overloaded = False
        for connection in self._admission.accepted:
            connection.resume_after_overload()

    def stop_accepting(self) -> None:
        """Close the listening sockets."""
        for server in self._servers:
            server.close()

    def drain(self) -> None:
        """Have every handler answer what it has received, and close its connection."""
        for connection in self.connections:
            connection.drain()

    async def close(self, timeout_s: float = 1.0) -> None:
        """Wait until the last answers have been sent, `timeout_s` at most; then abort what is left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._admission.accepted:  # noqa: ASYNC110 -- an event would cost every disconnect
                    await asyncio.sleep(0.02)
        for connection in [*self._admission.accepted, *self._admission.rejected]:
            connection.abort()


def connection_limits(max_connections: int, setting: str) -> tuple[int, int]:
    """Return how many connections to accept, and how many rejected ones may linger, both at least 1.

    Both are derived from the limit of open files, which is raised as far as possible: without a descriptor, a
    connection could not even be rejected. `setting` is the name of `max_connections`, for the log.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    required = 2 * max_connections + _RESERVED_DESCRIPTORS
    if soft < required:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(required, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = min(_MIN_RESERVED_DESCRIPTORS, soft // 2)
    accepted = max(1, min(max_connections, soft - reserved))
    rejected = min(max_connections, soft - max_connections - _RESERVED_DESCRIPTORS)
    if soft < max_connections + _RESERVED_DESCRIPTORS:
        _log_low_limit(soft, max_connections, accepted, setting)
    return accepted, max(1, rejected, reserved // 4)


def _log_low_limit(soft: int, max_connections: int, accepted: int, setting: str) -> None:
    text = f"the limit of {soft} open files is too low for {max_connections} connections ({setting})"
    if accepted < max_connections:
        text = f"{text}: at most {accepted} are accepted"
    log.record("WARNING", "descriptor_limit_low", f"{text}; raise it (LimitNOFILE=)", COUNT=accepted)
