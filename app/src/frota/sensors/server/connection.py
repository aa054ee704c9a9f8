"""The handler of one connection: events in, records to the WAL, answers out, always in order.

Answers to rejected lines go through the WAL's queue too (as barriers), and so leave in their turn.
"""

import math
import re
from dataclasses import dataclass

from frota.logs import log
from frota.net.tcp_server import State, TcpConnection
from frota.sensors import messages, readings
from frota.sensors.framing import Bad, Batch, Event, Framer, Newline
from frota.sensors.messages import ANSWER, Command, Parts
from frota.sensors.readings import Query
from frota.sensors.server.backpressure import ReadingStore
from frota.sensors.server.batch import MAX_PACKET_BYTES, Batcher
from frota.sensors.server.event_log import EventLog
from frota.sensors.server.producers import ProducerRegistry
from frota.sensors.server.subscriptions import Subscriptions
from frota.sensors.session import BATCHED, Phase, Session, Step
from frota.sensors.settings import ServerSettings
from frota.storage.wal.log import DiskFull
from frota.storage.wal.segment import NO_PRODUCER

_ANSWER_LINE = ANSWER + b"\n"
_OPEN = Phase.OPEN


@dataclass
class Services:
    """What all connections share. `settings` are replaced by a reload."""

    settings: ServerSettings
    pattern: re.Pattern[str]  # of a reading that a known unit ends
    known_units: set[str]
    store: ReadingStore
    batcher: Batcher
    producers: ProducerRegistry
    subscriptions: Subscriptions
    event_log: EventLog


class SensorConnection:
    """Speaks the sensors' protocol, legacy and native, over one TCP connection."""

    __slots__ = ("_progress_at", "_services", "address", "framer", "head", "head_out_of_range", "session", "tcp")

    def __init__(self, services: Services, tcp: TcpConnection) -> None:
        self._services, self.tcp, self.address = services, tcp, tcp.address
        self.framer = Framer(services.pattern, services.known_units)
        self.session = Session(self.framer)
        self.head = readings.head(*self.address, 1)
        self.head_out_of_range = readings.head(*self.address, 1, [0])
        self._progress_at = tcp.opened_at

    def data_received(self, data: bytes) -> None:
        """Batch a packet that may be exactly one reading; process anything else at once."""
        session, framer = self.session, self.framer
        if session.phase is BATCHED:
            self._services.batcher.flush()
        if len(data) <= MAX_PACKET_BYTES and session.phase is _OPEN and not framer.rest and not framer.native:
            session.phase = BATCHED
            self._services.batcher.collect(self, data)
        else:
            self.process(data)

    def process(self, data: bytes) -> None:
        """Process input of any kind."""
        try:
            had_rest = self.framer.rest
            events = self.session.receive(data)
            if events or not had_rest:
                self._progress_at = self.tcp.last_received
            self._handle(events)
        except Exception as error:  # noqa: BLE001 -- one peer's input must not cost the others their answers
            log.record("ERROR", "internal_error", "the connection is closed", error=error, PEER=self.tcp.name)
            if self.session.phase is not Phase.ENDING:
                self._reject(Bad(messages.INTERNAL, fatal=True))

    def eof_received(self) -> None:
        """Answer what came before the end, then close."""
        self._services.batcher.flush()
        if self.session.phase is Phase.OPEN:
            self._end_input()

    def connection_lost(self) -> None:
        """Release the connection; what it sent is stored all the same."""
        self._services.subscriptions.cancel(self.tcp)
        self._services.producers.unregister(self.session.producer, self.tcp)

    def idle_timeout(self) -> float:
        """Return SENSORS_IDLE_TIMEOUT; a stream of readings may be silent for ever."""
        return math.inf if self.session.phase is Phase.STREAMING else self._services.settings.idle_timeout

    def check(self, now: float) -> None:
        """Reject a reading whose rest does not come."""
        late = now - self._progress_at > self._services.settings.incomplete_timeout
        if late and self.framer.rest and self.session.phase is Phase.OPEN and not self.tcp.reading_paused:
            self._reject_unfinished()

    def drain(self) -> None:
        """Process no more input; answer what was received, then close."""
        self._services.batcher.flush()
        if self.session.phase is not Phase.ENDING:
            self.session.advance(Step.END)
            self.tcp.pause_reading()
            self._services.store.wal.barrier(self._close, None)

    def reject_disk_full(self, count: int, error: DiskFull) -> None:
        """Answer that `count` readings are not stored."""
        self._services.event_log.disk_full(self.tcp, count, error)
        self.tcp.write(self._error_line(messages.DISK_FULL) * count)
        if self.session.producer is not NO_PRODUCER:
            # Later readings would be stored under higher numbers, which would say that these were, too.
            self.session.advance(Step.END)
            self.tcp.finish()

    def _handle(self, events: list[Event]) -> None:
        for index, event in enumerate(events):
            if type(event) is Batch:
                answer = _ANSWER_LINE * len(event.readings) if event.native else ANSWER
                self._store(event.readings, event.raw, answer)
            elif isinstance(event, Newline):
                self._services.store.wal.barrier(self._answer, b"\n")
            elif isinstance(event, Bad):
                self._reject(event)
            elif isinstance(event, Command):
                self._execute(event)
            if self.session.phase is not Phase.OPEN:
                self.session.defer(events[index + 1 :])
                return

    def _store(self, parts: list[Parts], raw: bytes, answer: bytes) -> None:
        session, store = self.session, self._services.store
        number = session.number_lines(len(parts))
        if number > messages.MAX_NUMBER:
            self._reject(Bad(messages.NO_NUMBERS, fatal=True))
            return
        out_of_range = store.check(parts)
        payload = readings.head(*self.address, len(parts), out_of_range) + raw
        store.append(payload, self._stored, answer, session.producer, number)
        self._services.event_log.readings([self] * len(parts), parts, out_of_range, session.producer_id, number)

    def _stored(self, answer: bytes, error: DiskFull | None) -> None:
        if error is None:
            self.tcp.write(answer)
        else:
            self.reject_disk_full(answer.count(b"\n") or 1, error)

    def _execute(self, command: Command) -> None:
        try:
            if command.name in ("history", "tail"):
                query = Query.from_json(command.argument)
                self._services.subscriptions.start(self.tcp, query, live=command.name == "tail")
                self.session.advance(Step.QUERY)
            elif command.name == "hello":
                self._greet(command.argument)
            elif lost := self.session.skip(command.argument):
                self._services.event_log.dropped(self.tcp, lost)
        except ValueError as error:
            self._reject(Bad(str(error), fatal=True, text=command.argument))

    def _greet(self, argument: str) -> None:
        producer = self.session.greet(argument)
        self._services.producers.register(producer, self.tcp)
        self.tcp.pause_reading()
        # The last number is known once everything that a former connection sent has been committed.
        self._services.store.wal.barrier(self._numbered, producer)

    def _numbered(self, producer: bytes, _: DiskFull | None) -> None:
        if self.tcp.state is State.CLOSED or self.session.phase is Phase.ENDING:
            return
        last = self._services.store.wal.last_sequence(producer)
        self.tcp.write(f"frota numbered {last}\n".encode())
        self._handle(self.session.number_after(last))
        if self.session.phase is Phase.OPEN:
            self.tcp.resume_reading()
            if self.tcp.state is State.HALF_CLOSED:
                self._end_input()

    def _reject(self, bad: Bad) -> None:
        """Answer in its turn; end the connection if it cannot go on or has sent too many malformed lines."""
        session, wal = self.session, self._services.store.wal
        session.errors += 1
        number = session.number_lines(1)  # a rejected line has a number too: both sides count lines
        self._services.event_log.malformed(self.tcp, bad.reason, bad.text, session.producer_id, number)
        wal.barrier(self._answer, self._error_line(bad.reason))
        too_many = session.errors > self._services.settings.max_errors
        if bad.fatal or too_many:
            session.advance(Step.END)
            if not bad.fatal:
                wal.barrier(self._answer, self._error_line(messages.TOO_MANY_ERRORS))
            wal.barrier(self._finish, None)

    def _reject_unfinished(self) -> None:
        if reason := self.framer.why_unfinished():
            self._reject(Bad(reason, fatal=True, text=repr(self.framer.rest[:80])))

    def _end_input(self) -> None:
        self._reject_unfinished()
        self._services.store.wal.barrier(self._close, None)

    def _error_line(self, reason: str) -> bytes:
        return f"{messages.ERROR}{reason}".encode() + (b"\n" if self.framer.native else b"")

    def _answer(self, data: bytes, _: DiskFull | None) -> None:
        self.tcp.write(data)

    def _finish(self, _argument: None, _: DiskFull | None) -> None:
        self.tcp.finish()

    def _close(self, _argument: None, _: DiskFull | None) -> None:
        self.tcp.close()
