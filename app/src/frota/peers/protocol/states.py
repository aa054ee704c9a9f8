"""The states of a connection, as the server sees it, and which message is received or sent in which: tables. No I/O."""

from enum import Enum

from frota.peers.protocol import messages, requests
from frota.peers.protocol.codec.dialects import Dialect
from frota.peers.protocol.messages import Message


class State(Enum):
    """What the server knows of the caller."""

    NEW = "the caller has not said who it is"
    IDLE = "the worker has no task"
    BUSY = "the worker has a task"
    REDIRECTED = "the worker is told to go to another server"
    NATIVE = "the worker takes several tasks"
    LEAVING = "the worker takes no more tasks"
    REQUESTED = "the worker waits for the answer to ALIVE"
    REPORTING = "the worker waits for the answer to its report"
    ANSWERED = "the exchange is over"
    PEER = "the caller is a server"
    CLIENT = "the caller is a client"
    CLOSED = "the connection is to be closed"


class Step(Enum):
    """What is received or sent, as far as it matters to the state."""

    ALIVE = "ALIVE of a legacy worker"
    NATIVE_ALIVE = "ALIVE with CAPACITY"
    ALIVE_C = "ALIVE of dialect C"
    REPORT = "a report"
    REPORT_C = "a report of dialect C"
    LEAVING = "LEAVING"
    PEER_REQUEST = "a request of a server"
    PEER_REPLY = "a reply to a server"
    REQUEST = "a client's request"
    TASK = "a task"
    ONE_TASK = "a task of a legacy server"
    NO_TASK = "NO_TASK"
    ACK = "the answer to a report"
    MOVE = "REDIRECT or RETURN"
    NOTICE = "WELCOME or LOAN_RENEW"
    REPLY = "a reply to a client"
    REFUSAL = "a refusal"


RECEIVED = {
    State.NEW: {
        Step.ALIVE: State.IDLE,
        Step.NATIVE_ALIVE: State.NATIVE,
        Step.ALIVE_C: State.REQUESTED,
        Step.REPORT_C: State.REPORTING,
        Step.PEER_REQUEST: State.PEER,
        Step.REQUEST: State.CLIENT,
    },
    State.IDLE: {Step.ALIVE: State.IDLE, Step.ALIVE_C: State.REQUESTED},
    State.BUSY: {Step.ALIVE: State.BUSY, Step.REPORT: State.IDLE},
    State.REDIRECTED: {Step.ALIVE: State.IDLE},
    State.NATIVE: {Step.NATIVE_ALIVE: State.NATIVE, Step.REPORT: State.NATIVE, Step.LEAVING: State.LEAVING},
    State.LEAVING: {Step.NATIVE_ALIVE: State.LEAVING, Step.REPORT: State.LEAVING, Step.LEAVING: State.LEAVING},
    State.REQUESTED: {},
    State.REPORTING: {},
    State.ANSWERED: {Step.ALIVE_C: State.REQUESTED, Step.REPORT_C: State.REPORTING},
    State.PEER: {Step.PEER_REQUEST: State.PEER},
    State.CLIENT: {Step.REQUEST: State.CLIENT},
    State.CLOSED: {},
}
SENT = {
    State.NEW: {},
    State.IDLE: {Step.TASK: State.BUSY, Step.MOVE: State.REDIRECTED},
    State.BUSY: {},
    State.REDIRECTED: {},
    State.NATIVE: {Step.TASK: State.NATIVE, Step.MOVE: State.LEAVING, Step.NOTICE: State.NATIVE},
    State.LEAVING: {Step.MOVE: State.LEAVING, Step.NOTICE: State.LEAVING},
    State.REQUESTED: dict.fromkeys((Step.TASK, Step.NO_TASK, Step.MOVE, Step.REFUSAL), State.ANSWERED),
    State.REPORTING: dict.fromkeys((Step.ACK, Step.REFUSAL), State.ANSWERED),
    State.ANSWERED: {},
    State.PEER: {Step.PEER_REPLY: State.PEER},
    State.CLIENT: {Step.REPLY: State.CLIENT},
    State.CLOSED: {},
}

STEPS: dict[type[Message], Step] = {
    messages.WorkerAlive: Step.ALIVE,
    messages.Reports: Step.REPORT,
    messages.WorkerLeaving: Step.LEAVING,
    messages.Tasks: Step.TASK,
    messages.NoTask: Step.NO_TASK,
    messages.ReportAck: Step.ACK,
    messages.Redirect: Step.MOVE,
    messages.Return: Step.MOVE,
    messages.Welcome: Step.NOTICE,
    messages.Refusal: Step.REFUSAL,
    **dict.fromkeys(messages.PEER_REQUESTS, Step.PEER_REQUEST),
    **dict.fromkeys(messages.PEER_REPLIES, Step.PEER_REPLY),
    **dict.fromkeys(requests.REQUESTS, Step.REQUEST),
    **dict.fromkeys(requests.REPLIES, Step.REPLY),
}
SENT_STEPS = {**STEPS, messages.LoanRenew: Step.NOTICE}  # to a worker
STEPS_IN_DIALECT = {
    (Step.ALIVE, Dialect.NATIVE): Step.NATIVE_ALIVE,
    (Step.ALIVE, Dialect.C): Step.ALIVE_C,
    (Step.REPORT, Dialect.C): Step.REPORT_C,
}
