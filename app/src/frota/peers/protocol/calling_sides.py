"""The other sides of a connection to a server: a worker's, a server's that asks its peer, and a client's. No I/O.

They begin in the native dialect. A server that does not speak it is recognised by its first message: the worker then
takes one task at a time, in dialect A. Dialects B and C are a setting, for servers that speak nothing else.
"""

from enum import Enum
from typing import Any

from frota.core.errors import MalformedMessage
from frota.peers.protocol import messages, requests
from frota.peers.protocol.codec.dialects import Decoded, Dialect, Misuse
from frota.peers.protocol.framing import MAX_MESSAGE_BYTES, Frame
from frota.peers.protocol.messages import Message, Refusal
from frota.peers.protocol.requests import Reply, Request
from frota.peers.protocol.server_side import Connection, Rejected
from frota.peers.protocol.states import STEPS, Step


class CallingSide(Connection):
    """What the calling sides share: what is malformed is not answered; the connection is to be closed."""

    def __init__(
        self, dialect: Dialect = Dialect.NATIVE, *, websocket: bool = False, max_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        super().__init__(websocket=websocket, max_bytes=max_bytes)
        self.dialect = dialect
        if dialect is Dialect.B:
            self._end = b""

    def _reject(self, reason: str, fields: dict[str, Any], fatal: bool) -> Rejected:  # noqa: ARG002 -- see above
        return Rejected(reason, b"", fatal=True)


class WorkerState(Enum):
    """How a worker stands with its server."""

    NEW = "the worker has not introduced itself"
    READY = "the worker takes tasks"
    BUSY = "the worker has the one task of a legacy server"
    REPORTING = "the worker waits for the answer to its report"
    LEAVING = "the worker takes no more tasks"
    MOVING = "the worker is told to go to another server"
    DONE = "the exchange is over"


WORKER_RECEIVES = {
    WorkerState.NEW: {},
    WorkerState.READY: {
        Step.TASK: WorkerState.READY,
        Step.ONE_TASK: WorkerState.BUSY,
        Step.NO_TASK: WorkerState.DONE,
        Step.MOVE: WorkerState.MOVING,
        Step.NOTICE: WorkerState.READY,
        Step.REFUSAL: WorkerState.READY,
    },
    WorkerState.BUSY: {Step.MOVE: WorkerState.MOVING, Step.REFUSAL: WorkerState.BUSY},
    WorkerState.REPORTING: {Step.ACK: WorkerState.DONE, Step.REFUSAL: WorkerState.DONE},
    WorkerState.LEAVING: dict.fromkeys((Step.TASK, Step.MOVE, Step.NOTICE, Step.REFUSAL), WorkerState.LEAVING),
    WorkerState.MOVING: dict.fromkeys((Step.MOVE, Step.NOTICE, Step.REFUSAL), WorkerState.MOVING),
    WorkerState.DONE: {},
}
WORKER_SENDS = {
    WorkerState.NEW: {Step.ALIVE: WorkerState.READY, Step.REPORT_C: WorkerState.REPORTING},
    WorkerState.READY: {
        Step.ALIVE: WorkerState.READY,
        Step.REPORT: WorkerState.READY,
        Step.LEAVING: WorkerState.LEAVING,
    },
    WorkerState.BUSY: {Step.REPORT: WorkerState.READY, Step.REPORT_C: WorkerState.REPORTING},
    WorkerState.REPORTING: {},
    WorkerState.LEAVING: dict.fromkeys((Step.ALIVE, Step.REPORT, Step.LEAVING), WorkerState.LEAVING),
    WorkerState.MOVING: dict.fromkeys((Step.ALIVE, Step.REPORT, Step.LEAVING), WorkerState.MOVING),
    WorkerState.DONE: {},
}


class WorkerSide(CallingSide):
    """A worker's side. `dialect` is A once the server has turned out to be a legacy one."""

    def __init__(
        self, dialect: Dialect = Dialect.NATIVE, *, websocket: bool = False, max_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        super().__init__(dialect, websocket=websocket, max_bytes=max_bytes)
        self.state = WorkerState.NEW

    def send(self, message: messages.WorkerAlive | messages.WorkerLeaving | messages.Reports) -> bytes:
        """Return what is to be sent. Raises Misuse."""
        step = STEPS[type(message)]
        if step is Step.REPORT and self.dialect is Dialect.C:
            step = Step.REPORT_C
        state = WORKER_SENDS[self.state].get(step)
        if state is None:
            raise Misuse(f"{step.value} is not to be sent: {self.state.value}")
        data = self._encode(message)
        self.state = state
        return data

    def _accept(self, decoded: Decoded, frame: Frame) -> Message:  # noqa: ARG002 -- a server needs the frame
        message = decoded.message
        step = Step.NOTICE if isinstance(message, messages.LoanRenew) else STEPS[type(message)]
        if step is Step.TASK and decoded.dialects != Dialect.NATIVE:
            step = Step.ONE_TASK
        state = WORKER_RECEIVES[self.state].get(step)
        if state is None:
            raise MalformedMessage(f"{step.value} does not fit: {self.state.value}")
        if step is Step.ONE_TASK and self.dialect is Dialect.NATIVE:
            self.dialect = Dialect.A
        self.state = state
        return message


REPLIES: dict[type[Message], tuple[type[Message], ...]] = {
    messages.Heartbeat: (messages.HeartbeatReply,),
    messages.WorkerRequest: (messages.WorkersGranted, messages.WorkersDenied),
    messages.LoanRenew: (messages.LoanRenewed, messages.LoanEnded),
    messages.Release: (messages.ReleaseAck,),
    messages.ReleaseCompleted: (),
}


class PeerSide(CallingSide):
    """The side of a server that asks its peer: one request at a time.

    `awaited` are the kinds of the reply that has not arrived, or none. A Refusal is a reply, too. `dialect` is A once
    the peer has answered a native heartbeat as a legacy server does.
    """

    def __init__(
        self, dialect: Dialect = Dialect.NATIVE, *, websocket: bool = False, max_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        super().__init__(dialect, websocket=websocket, max_bytes=max_bytes)
        self.awaited: tuple[type[Message], ...] = ()

    def send(self, message: Message) -> bytes:
        """Return what is to be sent. Raises Misuse, also if the peer's dialect does not have the message."""
        if self.awaited:
            raise Misuse(f"{type(message).__name__} is not to be sent: a reply is awaited")
        data = self._encode(message)
        self.awaited = REPLIES[type(message)]
        return data

    def _accept(self, decoded: Decoded, frame: Frame) -> Message:  # noqa: ARG002 -- a server needs the frame
        message = decoded.message
        if not isinstance(message, (*self.awaited, Refusal)):
            raise MalformedMessage(f"{type(message).__name__} is no reply to the request")
        if isinstance(message, messages.HeartbeatReply) and decoded.dialects == Dialect.A:
            self.dialect = Dialect.A
        self.awaited = ()
        return message


MAX_REPLY_BYTES = 4 * MAX_MESSAGE_BYTES  # 1,000 dead tasks with the longest errors


class ClientSide(CallingSide):
    """A client's side: any number of requests, each with an id of its own. `awaited` are those without a reply."""

    def __init__(self, *, websocket: bool = False, max_bytes: int = MAX_REPLY_BYTES) -> None:
        super().__init__(websocket=websocket, max_bytes=max_bytes)
        self.awaited: dict[int, Request] = {}

    def send(self, request: Request) -> bytes:
        """Return what is to be sent. Raises Misuse."""
        if request.id in self.awaited:
            raise Misuse(f"request {request.id} is not to be sent again: its reply is awaited")
        self.awaited[request.id] = request
        return self._encode(request)

    def _accept(self, decoded: Decoded, frame: Frame) -> Message:  # noqa: ARG002 -- a server needs the frame
        message = decoded.message
        if not isinstance(message, Reply):
            raise MalformedMessage(f"{type(message).__name__} is no reply")
        failed = isinstance(message, requests.RequestFailed)
        if self.awaited.pop(message.id, None) is None and not failed:
            raise MalformedMessage(f"reply to request {message.id}, which is not awaited")
        return message
