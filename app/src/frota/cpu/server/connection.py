"""The handler of one connection: an agent, legacy or native, a viewer, or a collector of metrics over HTTP."""

import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import chain

import orjson

from frota.core.errors import MalformedMessage
from frota.cpu import messages
from frota.cpu.framing import Event, Framer, Hello, HttpRequest, Pong, Query, SampleMessage
from frota.cpu.server.agents import Agents
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.host import Host
from frota.cpu.server.responses import Responses, ResponseTasks
from frota.cpu.session import Phase, Step, advance
from frota.cpu.settings import ServerSettings
from frota.logs import log
from frota.logs.log import printable
from frota.net import http
from frota.net.tcp_server import State, TcpConnection, Watermarks

_VIEWER_IDLE_TIMEOUT_S = 600.0
_MAX_MALFORMED = 20  # malformed messages of a legacy agent, whose protocol has no error response


@dataclass
class Services:
    """What all connections share. `settings` are replaced by a reload."""

    settings: ServerSettings
    agents: Agents
    pending: Watermarks  # of samples that wait for the disk
    responses: Responses
    routes: http.Routes  # for collectors of metrics
    tasks: ResponseTasks
    event_log: EventLog


class MetricsConnection:
    """Speaks the protocols of agents and viewers over one TCP connection."""

    __slots__ = (
        "_events",
        "_malformed",
        "_processed",
        "_response",
        "_services",
        "framer",
        "host",
        "instance",
        "name_numbers",
        "phase",
        "tcp",
    )

    def __init__(self, services: Services, tcp: TcpConnection) -> None:
        self._services, self.tcp = services, tcp
        self.framer = Framer()
        self.phase = Phase.NEW
        self.host: Host | None = None
        self.instance = ""  # id of the agent's process, if its hello has one
        self.name_numbers: list[int] = []  # that distinguish a legacy agent from others at its address
        self._events: Iterator[Event | MalformedMessage] | None = None  # received, and not processed yet
        self._processed = self._malformed = 0  # `_processed` since the last sweep
        self._response: ResponseTasks.Task | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The peer's host and port."""
        return self.tcp.address

    @property
    def name(self) -> str:
        """The peer as HOST:PORT."""
        return self.tcp.name

    @property
    def ended(self) -> bool:
        """Whether our side of the connection has ended."""
        return self.tcp.state in (State.LINGERING, State.CLOSED)

    @property
    def replaceable(self) -> bool:
        """Whether another agent may have this one's host at once."""
        return self.ended or self.phase is Phase.UNRESPONSIVE

    @property
    def backlogged(self) -> bool:
        """Whether input has been received that is not processed yet."""
        return self._events is not None

    def data_received(self, data: bytes) -> None:
        """Process input; above the rate limit, pause reading until the next sweep."""
        self._events = self.framer.feed(data)
        self._process()
        if self._events and not self.ended and self.phase is not Phase.CONTENDER:
            self._services.event_log.rate_limited(self)
            self.tcp.pause_reading()

    def eof_received(self) -> None:
        """Close, unless a response is still to be sent."""
        if self._response is None or self._response.done():
            self.tcp.close()

    def connection_lost(self) -> None:
        """Release the connection; the samples that it sent stay."""
        if self._response:
            self._response.cancel()
        self._services.agents.disconnect(self)

    def idle_timeout(self) -> float | None:
        """Return how long this peer may send nothing, in seconds; None before its first valid message."""
        if self.phase is Phase.CONTENDER:
            return math.inf
        if self.host:
            return self._services.agents.dead_seconds(self.host)
        return _VIEWER_IDLE_TIMEOUT_S if self.phase is Phase.VIEWER else None

    def check(self, now: float) -> None:  # noqa: ARG002 -- a sweep is a second, whatever the time
        """Process what was above the last second's rate limit."""
        if self.phase is Phase.CONTENDER or self._services.pending.exceeded:
            return
        self._processed = 0
        if self._events:
            self._process()
            self._resume()

    def drain(self) -> None:
        """Close: what was received is on disk and acknowledged already."""
        self.tcp.close()

    def write(self, data: bytes) -> None:
        """Send."""
        self.tcp.write(data)

    def reject(self, reason: str, **details: object) -> None:
        """Tell a peer that can read it why the connection ends, and end it."""
        if self.framer.dialect == "http":
            self.tcp.write(http.BAD_REQUEST)
        elif self.framer.dialect != "original":
            self.tcp.write(orjson.dumps({"frota": messages.VERSION, "error": reason, **details}) + b"\n")
        self.tcp.finish()

    def advance(self, step: Step) -> None:
        """Enter the next phase; a contender's input waits."""
        self.phase = advance(self.phase, step)
        if self.phase is Phase.CONTENDER:
            self.tcp.pause_reading()

    def retry_hello(self, hello: Hello) -> None:
        """Process a contender's hello again, and the input behind it."""
        if not self.ended:
            self.advance(Step.RETRIED)
            self._events = chain([hello], self._events or ())
            self._process()
            self._resume()

    def _resume(self) -> None:
        if not self._events and not self.ended and self.phase is not Phase.CONTENDER:
            self.tcp.resume_reading()

    def _process(self) -> None:
        """Process events up to the rate limit; the rest stays in `_events`."""
        try:
            for event in self._events or ():
                self._process_event(event)
                if self.phase is Phase.CONTENDER or self._processed >= self._services.settings.samples_per_second:
                    return
                if self.ended:
                    break
        except MalformedMessage as bad:
            run = self.host.row.run if self.host else ""
            self._services.event_log.malformed(self, str(bad), run, bad.number)
            self.reject(str(bad), **({"n": bad.number} if bad.number else {}))
        self._events = None

    def _process_event(self, event: Event | MalformedMessage) -> None:
        services = self._services
        if isinstance(event, Query):
            self._respond(services.responses.respond(event))
            return
        if isinstance(event, HttpRequest):
            self._respond(self._http_response(event.data), last=True)
            return
        self._processed += 1
        if isinstance(event, SampleMessage):
            if self.host is None:
                if self.framer.dialect != "original":
                    raise MalformedMessage(messages.NO_HELLO)
                services.agents.identify_legacy(self)
            services.agents.receive(self, event)
        elif isinstance(event, Hello):
            services.agents.greet(self, event)
        elif isinstance(event, Pong):
            services.agents.names.pong(self)
        else:
            self._malformed += 1
            services.event_log.malformed(self, str(event))
            if self._malformed >= _MAX_MALFORMED:
                raise event

    def _http_response(self, data: bytes) -> AsyncIterator[bytes]:
        exchange = http.Exchange(self._services.routes)
        try:
            if exchange.receive(data):
                return exchange.respond()
        except http.BadRequest:
            pass
        raise MalformedMessage(messages.INVALID_MESSAGE)

    def _respond(self, chunks: AsyncIterator[bytes], *, last: bool = False) -> None:
        """Send a response in a task of its own, one at a time."""
        if self._response and not self._response.done():
            raise MalformedMessage(messages.ONE_AT_A_TIME)
        if self._response is None:
            self.tcp.set_write_watermark(0)  # one chunk of a response at a time
        self.advance(Step.QUERIED)
        self._response = self._services.tasks.start(self._send(chunks, last=last))

    async def _send(self, chunks: AsyncIterator[bytes], *, last: bool) -> None:
        try:
            async with self._services.tasks.slots:
                async for chunk in chunks:
                    if self.ended:
                        return
                    await self.tcp.send(chunk)
        except (MalformedMessage, OSError) as error:
            self.reject(printable(str(error)))
            return
        except Exception as error:  # noqa: BLE001 -- the edge of a task: log the error, and tell the viewer
            log.record("ERROR", "internal_error", f"{self.name}: a response failed", error=error, PEER=self.name)
            self.reject(messages.INTERNAL)
            return
        self.tcp.restart_idle_timeout()
        if last:
            self.tcp.finish()
        elif self.tcp.state is State.HALF_CLOSED:
            self.tcp.close()
