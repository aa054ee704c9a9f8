"""One connection: an agent of either kind, a viewer, or one who collects metrics."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from itertools import chain
from typing import Any, Protocol, cast

import orjson

from frota.cpu_metrics import messages
from frota.cpu_metrics.framing import Ask, BadMessage, Event, Framer, Hello, Http, Pong, Reading
from frota.cpu_metrics.server.event_log import EventLog
from frota.cpu_metrics.server.host import Host
from frota.cpu_metrics.server.http import MetricsEndpoint
from frota.cpu_metrics.server.name_conflicts import NameRegistry
from frota.cpu_metrics.server.responses import Responses
from frota.cpu_metrics.settings import ServerSettings
from frota.logs import log
from frota.logs.log import printable
from frota.net.addresses import endpoint, plain

_FIRST_SECONDS = 10.0  # until the first message, or an agent's hello
_VIEWER_SECONDS = 600.0  # between two questions
_TAKES_SECONDS = 30.0  # in which a viewer has to take something of its answer
_MOST_UNREAD = 64 * 1024  # bytes of answers to an agent
_MOST_BAD = 20  # messages of an original agent that make no sense

_UNREAD = "does not read its answers"


class Server(Protocol):
    """What a connection needs of its server: who takes what comes, and what all connections share."""

    now: float  # of the last sweep, in the loop's seconds
    settings: ServerSettings
    event_log: EventLog
    names: NameRegistry
    replies: Responses
    web: MetricsEndpoint
    answering: asyncio.Semaphore

    def admit(self, connection: Any) -> bool:
        """Count a new connection in, unless there are too many."""

    def forget(self, connection: Any) -> None:
        """Count a connection out."""

    def greet(self, connection: Any, hello: Hello) -> None:
        """Identify an agent. Raises BadMessage."""

    def greet_original(self, connection: Any) -> None:
        """Identify an agent of the legacy protocol. Raises BadMessage."""

    def take(self, connection: Any, reading: Reading) -> None:
        """Take a sample in. Raises BadMessage."""

    def dead_seconds(self, host: Host) -> float:
        """Return after how long without a word a host's connection is given up."""

    def show(self, viewing: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Answer a viewer beside everything else."""


class Connection(asyncio.Protocol):
    """The protocol of one connection."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.framer = Framer()
        self.host: Host | None = None
        self.address_numbers: list[int] = []  # by which an original agent is told apart from others of its address
        self.instance = ""  # of the agent's process, where it says hello with one
        self.given_up = False  # since it answers no ping, while another wants its host's name
        self.closed = self._ended = self._held = False
        self.heard = self._began = server.now
        self._bad = self._taken = 0  # `_taken` in this second
        self._events: Iterator[Event | BadMessage] | None = None  # that came, and are not taken yet
        self._viewing: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None  # of a viewer, who may read more slowly than we write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it with the reason."""
        self._transport = cast("asyncio.Transport", transport)
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.address = plain(host), port
        self.name = endpoint(*self.address)
        if not self.server.admit(self):
            self.refuse(messages.FULL)

    def data_received(self, data: bytes) -> None:
        """Take what came; whoever sends more than a connection may is read from later."""
        if self.closed:
            return
        self.heard = self.server.now
        self._events = self.framer.feed(data)
        self._take_events()
        if self._events and not self.closed and not self._held:
            self.server.event_log.hasty(self)
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """End with the other side, a viewer's answer first."""
        self._ended = True
        return self._viewing is not None and not self._viewing.done()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget the connection, not what it sent."""
        self.closed = True
        if self._viewing:
            self._viewing.cancel()
        if self._room:
            self._room.set()
        self.server.forget(self)

    def pause_writing(self) -> None:
        """Wait with what viewers have not read yet; an agent that reads no answer is of no use."""
        if self._room is None:
            self.abort(_UNREAD)
        else:
            self._room.clear()

    def resume_writing(self) -> None:
        """Go on."""
        if self._room:
            self._room.set()

    def write(self, data: bytes) -> None:
        """Write, unless the connection is over."""
        if not self.closed:
            self._transport.write(data)

    def acknowledge(self, kind: str, number: int) -> None:
        """Tell a native agent up to where its samples are on disk."""
        self.write(b'{"frota":1,"%b":%d}\n' % (kind.encode(), number))
        if self._room and self._transport.get_write_buffer_size() > _MOST_UNREAD:  # it is a viewer, too
            self.abort(_UNREAD)

    @property
    def backlogged(self) -> bool:
        """Whether something has come that was not read yet."""
        return self._events is not None

    def hold(self) -> None:
        """Take nothing more until `go_on`: it is open whether the agent may have its name."""
        self._held = True
        self._transport.pause_reading()

    def go_on(self, hello: Hello) -> None:
        """Take the hello again, and what came after it."""
        if self.closed:
            return
        self._held = False
        self._events = chain([hello], self._events or ())
        self._take_events()
        if not self._events and not self.closed:
            self._transport.resume_reading()

    def refuse(self, reason: str, **details: object) -> None:
        """Tell why this ends, to whoever can read it, and end it."""
        if self.framer.dialect == "http":
            self.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        elif self.framer.dialect != "original":
            self.write(orjson.dumps({"frota": messages.VERSION, "error": reason, **details}) + b"\n")
        self.close()

    def close(self) -> None:
        """Send what is written, then close."""
        self.closed = True
        self._transport.close()

    def abort(self, reason: str) -> None:
        """Cut the connection off."""
        self.server.event_log.cut(self, reason)
        self.closed = True
        self._transport.abort()

    def sweep(self) -> None:
        """Give the connection its share of the next second, and end it where nothing comes any more."""
        self._taken = 0
        if self._held:
            return
        if self._events and not self.closed:
            self.heard = self.server.now
            self._take_events()
            if not self._events and not self.closed:
                self._transport.resume_reading()
        silent = self.server.now - self.heard
        if self.host:
            if silent > self.server.dead_seconds(self.host):
                self.abort(f"nothing has come for {silent:.0f} s")
        elif self._room:
            if silent > _VIEWER_SECONDS:
                self.abort(f"asked nothing for {silent:.0f} s")
        elif self.server.now - self._began > _FIRST_SECONDS:  # however little has come again and again
            self.abort(f"said nothing of sense for {_FIRST_SECONDS:.0f} s")

    def _take_events(self) -> None:
        """Take what came, as far as this second's share goes; the rest stays in `_events`."""
        try:
            for event in self._events or ():
                self._take(event)
                if self._held or self._taken >= self.server.settings.samples_per_second:
                    return
                if self.closed:
                    break
        except BadMessage as bad:
            self.server.event_log.bad(self, str(bad))
            self.refuse(str(bad), **({"n": bad.number} if bad.number else {}))
        self._events = None

    def _take(self, event: Event | BadMessage) -> None:
        if isinstance(event, Reading):
            self._taken += 1
            if self.host is None:
                if self.framer.dialect != "original":
                    raise BadMessage(messages.NO_HELLO)
                self.server.greet_original(self)
            self.server.take(self, event)
        elif isinstance(event, Hello):
            self._taken += 1
            self.server.greet(self, event)
        elif isinstance(event, Pong):
            self._taken += 1
            self.server.names.alive(self)
        elif isinstance(event, Ask):
            self._show(self.server.replies.to(event))
        elif isinstance(event, Http):
            self._show(self.server.web.answer(event.data), last=True)
        else:
            self._taken += 1
            self._bad += 1
            self.server.event_log.bad(self, str(event))
            if self._bad >= _MOST_BAD:
                raise event

    def _show(self, pieces: AsyncIterator[bytes], *, last: bool = False) -> None:
        """Answer a viewer, one question at a time."""
        if self._viewing and not self._viewing.done():
            raise BadMessage(messages.ONE_AT_A_TIME)
        if self._room is None:
            self._room = asyncio.Event()
            self._room.set()
            self._transport.set_write_buffer_limits(0)  # one piece of an answer at a time
        self._viewing = self.server.show(self._send(pieces, last=last))

    async def _send(self, pieces: AsyncIterator[bytes], *, last: bool) -> None:
        try:
            async with self.server.answering:
                async for piece in pieces:
                    if self.closed:
                        return
                    self.write(piece)
                    await self._taken_in()
        except (BadMessage, OSError) as error:
            self.refuse(printable(str(error)))
            return
        except Exception as error:  # noqa: BLE001 -- the edge of a task: the viewer is not to wait for ever
            log.record("ERROR", "internal_error", f"{self.name}: the answer has failed", error=error, PEER=self.name)
            self.refuse(messages.INTERNAL)
            return
        self.heard = self.server.now
        if last or self._ended:
            self.close()

    async def _taken_in(self) -> None:
        """Wait until the kernel has what was written; who takes nothing of it is cut off."""
        left = self._transport.get_write_buffer_size()
        while self._room and not self._room.is_set():
            try:
                async with asyncio.timeout(_TAKES_SECONDS):
                    await self._room.wait()
            except TimeoutError:
                before, left = left, self._transport.get_write_buffer_size()
                if left >= before:
                    self.abort(f"takes nothing of its answer for {_TAKES_SECONDS:g} s")
                    return
