"""One sensor's connection: events in, records to the log, answers out, always in order.

Every answer, also that to a bad line, goes through the log's queue, and so comes after the answers of all before it.
"""

import asyncio
import re
from typing import Any, Protocol

from frota.logs import log
from frota.net.addresses import endpoint
from frota.sensors import messages, readings
from frota.sensors.framing import Bad, Batch, Event, Framer, Newline
from frota.sensors.messages import ANSWER, Command, Parts
from frota.sensors.readings import Query
from frota.sensors.server import batch
from frota.sensors.server.event_log import EventLog
from frota.sensors.server.session import Session
from frota.sensors.server.subscriptions import Subscriptions
from frota.sensors.server.transport import BACKLOG, HELLO, Peer
from frota.sensors.settings import ServerSettings
from frota.sensors.staleness import SensorMonitor
from frota.storage.wal.group_commit import WriteAheadLog
from frota.storage.wal.log import DiskFull
from frota.storage.wal.segment import NO_PRODUCER

_ANSWER_LINE = ANSWER + b"\n"


class Server(Protocol):
    """What a connection needs of its server: where its readings go, and what all connections share."""

    now: float  # of the last sweep, in the loop's seconds
    settings: ServerSettings
    pattern: re.Pattern[str]
    known_units: set[str]
    wal: WriteAheadLog
    batcher: batch.Batcher
    watch: SensorMonitor
    event_log: EventLog
    subscriptions: Subscriptions

    def admit(self, connection: Any) -> bool:
        """Count a new connection in, or refuse it."""

    def forget(self, connection: Any, producer: bytes) -> None:
        """Count a connection out."""

    def claim(self, producer: bytes, connection: Any) -> None:
        """Make this the numbered client's connection."""

    def limit_backlog(self) -> None:
        """Apply backpressure if too much waits for the disk."""


class Connection(Peer):
    """The protocol of one connection."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.framer = Framer(server.pattern, server.known_units)
        self.in_batch = False
        self._held: list[Event] | None = None  # what came behind a hello that is not answered yet
        self.viewer: asyncio.Task[None] | None = None  # shows what is kept; nothing more is taken in then
        self._session = Session(server)
        self._errors = 0
        self._progress = self._heard = server.now

    @property
    def now(self) -> float:
        """Return the time of the server's last sweep."""
        return self._server.now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it with the reason."""
        super().connection_made(transport)
        self.head, self.head_outside = readings.head(*self.address, 1), readings.head(*self.address, 1, [0])
        if not self._server.admit(self):
            self.write(self._line(messages.SERVER_FULL))
            self.finish()

    def data_received(self, data: bytes) -> None:
        """Put the packet into this turn's round if it may be just one reading, else take it the long way."""
        if self.closed or self.viewer is not None:
            return
        self._heard = self._server.now
        if self.in_batch:
            self._server.batcher.flush()
        if len(data) <= batch.LONGEST and self.framer.expects_reading:
            self.in_batch = True
            self._server.batcher.add(self, data)
        else:
            self.take(data)

    def take(self, data: bytes) -> None:
        """Take what arrived the long way, whatever it is."""
        try:
            self._take(data)
        except Exception as error:  # noqa: BLE001 -- one peer's input must not cost the others their answers
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Close this connection after an internal error."""
        log.record("ERROR", "internal_error", "error, connection closed", error=error, PEER=endpoint(*self.address))
        if not self.closed:
            self.refuse(Bad(messages.INTERNAL, fatal=True))

    def _take(self, data: bytes) -> None:
        had_rest = self.framer.rest
        events = self.framer.feed(data)
        if events or not had_rest:
            self._progress = self._server.now
        if self._held is None:
            self._handle(events)
        else:
            self._held += events

    def eof_received(self) -> bool:
        """Answer what came before the peer's end, then close."""
        self.ended = True
        self._server.batcher.flush()
        if not self.closed:
            self._refuse_unfinished()
        self._close_if_ended()
        return True  # or the transport would be closed before the last answers are there

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what it sent is stored all the same."""
        super().connection_lost(exc)
        if self.viewer:
            self.viewer.cancel()
        self._server.forget(self, self._session.producer)

    def check(self) -> None:
        """Enforce the time limits; called several times per shortest limit."""
        limits, now = self._server.settings, self.now
        if self.lingers:
            self.abort()
        elif self.unread_since is not None and now - self.unread_since > limits.unread_timeout:
            self._server.event_log.error(self, "does not read its answers")
            self.abort()
        elif self.closed:
            return
        elif self.framer.rest and now - self._progress > limits.incomplete_timeout and not self.paused:
            self._refuse_unfinished()
        elif now - self._heard > limits.idle_timeout and self.viewer is None:
            self._server.event_log.error(self, f"silent for {limits.idle_timeout:g} s, closed")
            self.finish()

    def stop(self) -> None:
        """Take nothing more in; what was taken in is answered, then the connection closed."""
        if not self.closed:
            self._server.batcher.flush()
            self.closed = True
            self.pause(BACKLOG)
            self._server.wal.barrier(self._close, None)

    def hold(self) -> None:
        """Put off what comes, until the hello is answered."""
        self._held = []
        self.pause(HELLO)

    def release(self) -> None:
        """Go on with what was put off, unless that begins with another hello."""
        held, self._held = self._held or [], None
        self._handle(held)
        if self._held is None:
            self.resume(HELLO)
            self._close_if_ended()

    def _handle(self, events: list[Event]) -> None:
        for index, event in enumerate(events):
            if type(event) is Batch:
                answer = _ANSWER_LINE * len(event.readings) if event.native else ANSWER
                self._store(event.readings, event.raw, answer)
            elif isinstance(event, Newline):
                self._server.wal.barrier(self._write_later, b"\n")
            elif isinstance(event, Bad):
                self.refuse(event)
            elif isinstance(event, Command):
                self._obey(event)
            if self.closed or self.viewer is not None:
                return
            if self._held is not None:
                self._held = events[index + 1 :]
                return

    def _obey(self, command: Command) -> None:
        try:
            if command.name in ("history", "tail"):
                query = Query.from_json(command.argument)
                self.viewer = self._server.subscriptions.begin(self, query, command.name == "tail")
            else:
                self._session.obey(self, command)
        except ValueError as error:
            self.refuse(Bad(str(error), fatal=True, text=command.argument))

    def _store(self, found: list[Parts], raw: bytes, answer: bytes) -> None:
        server = self._server
        number = self._session.count(len(found))
        if number > messages.GREATEST:
            self.refuse(Bad(messages.NO_NUMBERS, fatal=True))
            return
        outside = server.watch.check(found, server.now)
        payload = readings.head(*self.address, len(found), outside) + raw
        server.wal.append(payload, self._stored, answer, self._session.producer, number)
        server.event_log.readings([self] * len(found), found, outside)
        if not self.paused:
            server.limit_backlog()

    def _stored(self, answer: bytes, error: DiskFull | None) -> None:
        if error is not None:
            self.not_stored(answer.count(b"\n") or 1, error)
        else:
            self.write(answer)

    def not_stored(self, count: int, error: DiskFull) -> None:
        """Refuse readings for which there is no room."""
        self._server.event_log.not_stored(self, count, error)
        self.write(self._line(messages.DISK_FULL) * count)
        if self._session.producer is not NO_PRODUCER:
            # Its next readings would be stored under numbers that say that this one was.
            self.finish()

    def refuse(self, bad: Bad) -> None:
        """Answer in its turn; the connection ends if it cannot go on or has erred too often."""
        server = self._server
        server.event_log.error(self, bad.reason, bad.text)
        self._errors += 1
        self._session.count(1)  # a line that is refused has a number all the same: both sides count lines
        ending = bad.fatal or self._errors > server.settings.max_errors
        server.wal.barrier(self._write_later, self._line(bad.reason))
        if ending:
            self.closed = True
            if not bad.fatal:
                server.wal.barrier(self._write_later, self._line(messages.TOO_MANY_ERRORS))
            server.wal.barrier(self._end, None)

    def _refuse_unfinished(self) -> None:
        if reason := self.framer.why_unfinished():
            self.refuse(Bad(reason, fatal=True, text=repr(self.framer.rest[:80])))

    def _write_later(self, data: bytes, _: DiskFull | None) -> None:
        self.write(data)

    def _line(self, reason: str) -> bytes:
        return f"{messages.ERROR}{reason}".encode() + (b"\n" if self.framer.native else b"")

    def _end(self, _argument: None, _: DiskFull | None) -> None:
        self.finish()

    def _close_if_ended(self) -> None:
        if self.ended and self._held is None and (self.viewer is None or self.viewer.done()):
            self._server.wal.barrier(self._close, None)

    def _close(self, _argument: None, _: DiskFull | None) -> None:
        self.close()
