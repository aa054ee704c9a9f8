"""The server's side of one connection: bytes in, messages out, and back. No I/O.

The first message tells who the caller is, a worker, another server (a peer) or a person's command (a client), and which
dialect it speaks; it is answered in kind. `states` has the tables that say which message fits which state, `roles` who
may send it. Another one is rejected with an answer and changes nothing.

A legacy worker of dialect A or B has one task at a time, so that its report belongs to the last task. A native worker
has several tasks, and its reports carry their ids. In dialect C each ALIVE and each report is a connection of its own,
which must be answered; a report names its worker, and its task is the one that this worker holds.

`calling_sides` has the other sides: of a worker, of a server that asks a peer, and of a client.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from frota.core.errors import MalformedMessage
from frota.peers.protocol import messages
from frota.peers.protocol.codec.dialects import Decoded, Dialect, Misuse, decode, encode
from frota.peers.protocol.framing import MAX_MESSAGE_BYTES, Bad, Frame, Framer, parse
from frota.peers.protocol.messages import (
    Message,
    Redirect,
    Refusal,
    Report,
    Reports,
    Return,
    Task,
    Tasks,
    WorkerAlive,
    WorkerLeaving,
)
from frota.peers.protocol.requests import RequestFailed
from frota.peers.protocol.roles import Forbidden, Role
from frota.peers.protocol.states import RECEIVED, SENT, SENT_STEPS, STEPS, STEPS_IN_DIALECT, State, Step

# What only one dialect has, and is not sent in another.
_OF_ONE_DIALECT: dict[type[Message], Dialect] = {
    messages.NoTask: Dialect.C,
    messages.ReportAck: Dialect.C,
    messages.Welcome: Dialect.NATIVE,
    messages.LoanRenew: Dialect.NATIVE,
}


class Rejected(NamedTuple):
    """A message is rejected: why, what is to be sent, and whether the connection is to be closed after that.

    `forbidden`: the message is well formed, but the caller may not send it.
    """

    reason: str
    answer: bytes
    fatal: bool
    forbidden: bool = False


Event = Message | Rejected


class Connection:
    """What all sides share: framing and dialect. `websocket` tells the transport; the other one is TCP."""

    __slots__ = ("_end", "_framer", "_websocket", "dialect")

    def __init__(self, *, websocket: bool = False, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.dialect = Dialect.NATIVE
        self._websocket = websocket
        self._end = b"" if websocket else b"\n"
        self._framer = Framer(max_bytes)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an incomplete message are buffered."""
        return self._framer.buffered_bytes

    def receive(self, data: bytes) -> list[Event]:
        """Process bytes of TCP; return the events that are complete now. The last one may be a fatal Rejected."""
        return list(self.events(data))

    def events(self, data: bytes) -> Iterator[Event]:
        """Do the same one by one: what is not taken is not processed. Take all before the next call."""
        for frame in self._framer.events(data):
            yield self._event(frame)

    def stop(self) -> None:
        """Free the buffer, and ignore all further input."""
        self._framer.stop()

    def receive_text(self, text: str | bytes) -> list[Event]:
        """Process a message of a WebSocket."""
        if len(text) > self._framer.max_bytes:
            return [self._reject(f"the message is too long: at most {self._framer.max_bytes} bytes", {}, fatal=True)]
        try:
            return [self._event(Frame(text, parse(text)))]
        except MalformedMessage as malformed:
            return [self._reject(str(malformed), {}, fatal=False)]

    def _event(self, frame: Frame | Bad) -> Event:
        if isinstance(frame, Bad):
            return self._reject(frame.reason, {}, frame.fatal)
        try:
            return self._accept(decode(frame), frame)
        except Forbidden as forbidden:
            return self._reject(str(forbidden), frame.fields, fatal=True)._replace(forbidden=True)
        except MalformedMessage as malformed:
            return self._reject(str(malformed), frame.fields, fatal=False)

    def _accept(self, decoded: Decoded, frame: Frame) -> Message:
        """Return the message if it fits. Raises MalformedMessage."""
        raise NotImplementedError

    def _reject(self, reason: str, fields: dict[str, Any], fatal: bool) -> Rejected:
        """Return the event of a rejected message; `fields` is empty where it is no JSON."""
        raise NotImplementedError

    def _encode(self, message: Message) -> bytes:
        return encode(message, self.dialect) + self._end


class ServerSide(Connection):
    """The server's side. `caller` is the name of a worker that does not say one.

    `role` is what the caller's certificate says; set it before the first message. `worker` is the name of the worker at
    the other end; in dialect C it is that of the last message.
    """

    __slots__ = ("_alive", "_lines", "_newline_may_follow", "_task", "role", "state", "worker")

    def __init__(self, caller: str, *, websocket: bool = False, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        super().__init__(websocket=websocket, max_bytes=max_bytes)
        self.dialect = Dialect.A
        self.state = State.NEW
        self.role = Role.UNAUTHENTICATED
        self.worker = caller
        self._alive: WorkerAlive | None = None  # the first message of a lasting connection
        self._task: Task | None = None  # what a legacy worker has
        self._newline_may_follow = False  # the first message has ended, and nothing has followed yet
        self._lines = Dialect.A  # the dialect if a newline follows

    def events(self, data: bytes) -> Iterator[Event]:
        """Process bytes of TCP; return the events that are complete now. The last one may be a fatal Rejected.

        A newline that arrives in a later packet than its ALIVE may tell that the dialect is C: the same ALIVE is then
        returned once more, and is to be answered.
        """
        if not self._newline_may_follow and (frame := self._framer.whole(data)):
            return iter((self._event(frame),))  # the usual case, without a generator
        return self._each(data)

    def _each(self, data: bytes) -> Iterator[Event]:
        if self._newline_may_follow and (rest := data.lstrip(b" \t\r")):
            self._newline_may_follow = False
            if rest[:1] == b"\n":
                yield from self._late_newline()
        count = 0
        for frame in self._framer.events(data):
            count += 1
            yield self._event(frame)
        if count > 1 or self.buffered_bytes:  # the next newline ends another message
            self._newline_may_follow = False

    def fits(self, kind: type[Message]) -> bool:
        """Tell whether a message of this kind may be sent now."""
        return SENT_STEPS[kind] in SENT[self.state]

    def send(self, message: Message) -> bytes:
        """Return what is to be sent, nothing if the dialect needs no such message. Raises Misuse."""
        if _OF_ONE_DIALECT.get(type(message), self.dialect) is not self.dialect:
            return b""
        step = SENT_STEPS[type(message)]
        state = SENT[self.state].get(step, self.state if step is Step.REFUSAL else None)
        if state is None:
            raise Misuse(f"{step.value} is not to be sent: {self.state.value}")
        if isinstance(message, Return) and self.dialect in "AB":
            message = Redirect(message.home, message.home)
        data = self._encode(message)
        self.state = state
        if state is State.BUSY and isinstance(message, Tasks):
            self._task = message.tasks[0]
        return data

    def _accept(self, decoded: Decoded, frame: Frame) -> Message:
        message, new = decoded.message, self.state is State.NEW
        dialect = _recognise(decoded.dialects, self._websocket, frame.newline) if new else self._checked(decoded)
        if isinstance(message, Refusal) and self.state is State.BUSY:  # a NOK that does not say of which task
            message = Reports((Report(False, error=message.reason),))
        step = STEPS[type(message)]
        if dialect in decoded.dialects:
            step = STEPS_IN_DIALECT.get((step, dialect), step)
        state = RECEIVED[self.state].get(step)
        if state is None:
            raise MalformedMessage(f"{step.value} does not fit: {self.state.value}")
        if new:
            self.role.check(step, dialect)
        if isinstance(message, WorkerAlive | WorkerLeaving | Reports):
            message = self._named(message, dialect)
        if new:
            self._begin(message, decoded.dialects, dialect, frame.newline)
        self.state = state
        return message

    def _checked(self, decoded: Decoded) -> Dialect:
        if self.dialect in decoded.dialects or (self.dialect is Dialect.NATIVE and Dialect.A in decoded.dialects):
            return self.dialect
        raise MalformedMessage(f"a message of dialect {decoded.dialects[0]} does not fit: this is {self.dialect}")

    def _begin(self, message: Message, dialects: str, dialect: Dialect, newline: bool) -> None:
        self.dialect = dialect
        self._alive = message if isinstance(message, WorkerAlive) else None
        lines = newline or dialect in (Dialect.C, Dialect.NATIVE)
        self._end = b"\n" if lines and not self._websocket else b""
        self._newline_may_follow = not lines and not self._websocket
        self._lines = _recognise(dialects, False, True)

    def _late_newline(self) -> list[Event]:
        self._end, self.dialect = b"\n", self._lines
        if self.dialect is not Dialect.C or self._alive is None:
            return []
        waits = self.state is State.IDLE
        self.state = State.REQUESTED if waits else State.ANSWERED
        return [self._alive] if waits else []

    def _named(self, message: WorkerAlive | WorkerLeaving | Reports, dialect: Dialect) -> Message:
        """Return the message with the name of the worker, and with the id of a legacy worker's task."""
        if dialect is Dialect.C and not message.worker:
            raise MalformedMessage("WORKER_UUID is missing")
        if self.state is State.NEW or dialect is Dialect.C:
            self.worker = message.worker or self.worker
        elif message.worker not in ("", self.worker):
            raise MalformedMessage(f"the worker must be {self.worker!r} on this connection, not {message.worker!r}")
        if isinstance(message, Reports):
            return self._named_reports(message, dialect)
        return message if message.worker == self.worker else replace(message, worker=self.worker)

    def _named_reports(self, message: Reports, dialect: Dialect) -> Reports:
        reports = message.reports
        if self._task:
            reports, self._task = (reports[0]._replace(id=self._task.id),), None
        elif dialect is Dialect.NATIVE and reports and not reports[0].id:  # of a batch, all have one
            raise MalformedMessage("TASK_ID is missing")
        return Reports(reports, self.worker)

    def _reject(self, reason: str, fields: dict[str, Any], fatal: bool) -> Rejected:
        if self.state is State.CLIENT or "REQUEST" in fields:
            answer = encode(RequestFailed(_id_of(fields), reason), Dialect.NATIVE)
        else:
            answer = encode(Refusal(reason), self.dialect)
        self.state = State.CLOSED if fatal else self.state
        return Rejected(reason, answer + self._end, fatal)


def _id_of(fields: dict[str, Any]) -> int:
    id_ = fields.get("ID")
    return id_ if type(id_) is int and 0 <= id_ <= messages.MAX_COUNT else 0


def _recognise(dialects: str, websocket: bool, newline: bool) -> Dialect:
    """Return the dialect of a first message: of B and C, which are of TCP only, C ends messages with a newline."""
    if websocket and Dialect.A in dialects:
        return Dialect.A
    if dialects == "AC":
        return Dialect.C if newline else Dialect.A
    if dialects == "AB":
        return Dialect.A if newline else Dialect.B
    return Dialect(dialects[0])
