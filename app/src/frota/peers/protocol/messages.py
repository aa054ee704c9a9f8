"""What travels between servers, workers and people's commands: the messages, and what they mean. No I/O.

`codec.dialects` has the table of their JSON: the keys, their order, in each dialect. `server_side` says who may send
what and when. A, B and C are the dialects of the legacy programs (docs/architecture.md). The native dialect is A with
keys that a legacy program ignores, and with messages that resemble none of a legacy program:

    worker → {"WORKER": "ALIVE", "WORKER_UUID": "w-1", "CAPACITY": 64}        CAPACITY makes it native
    server ← {"SERVER": "ALIVE", "TASK": "WELCOME", "SERVER_UUID": "s-1", "LEASE_S": 30}
    server ← {"TASK": "BATCH", "LEASE_S": 30, "TASKS": [{"TASK": "QUERY", "TASK_ID": "…", "USER": "Ana"},
                   {"TASK": "UPDATE", "TASK_ID": "…", "CPF": "11111111111", "SALDO": "99.99"}, …]}
    worker → {"STATUS": "BATCH", "REPORTS": [{"STATUS": "OK", "TASK_ID": "…", "SALDO": "99.99"},
                   {"STATUS": "NOK", "TASK_ID": "…", "ERROR": "User not found"}, …]}

A task is leased for LEASE_S seconds; every further ALIVE of the worker renews the leases of all its tasks, or, with
TASK_IDS, of these only. Of a worker that ends, `{"WORKER": "LEAVING"}` gives the tasks back that it has not begun.
Reports are not acknowledged: a lease ends, the task is given out again, and TASK_ID is the idempotency key.

Servers say in heartbeats who they are and what their load is. A loan of workers has an id and an epoch, and lasts for
TERM_S seconds: LOAN, EPOCH and TERM_S are in a WORKER_REQUEST, its response, the REDIRECT of each worker, which repeats
LOAN and EPOCH in its ALIVE, and in RETURN and COMMAND_RELEASE. Until it ends, it is renewed, by the borrower at the
lender, and by the server at a borrowed worker, which does not answer:

    server → {"SERVER": "ALIVE", "TASK": "REQUEST", "SERVER_UUID": "s-1", "LOAD": {"WAITING": 10, "WAIT_MS": 250, …}}
    server → {"TASK": "LOAN_RENEW", "SERVER_UUID": "s-1", "LOAN": "l-1", "EPOCH": 1, "TERM_S": 60}
    server ← {"TASK": "LOAN_RENEW", "STATUS": "ACK", "LOAN": "l-1", "EPOCH": 1, "TERM_S": 60}      or NACK, with ERROR

A person's command sends requests with an ID, which the reply repeats, so that requests can be pipelined:

    client → {"REQUEST": "SUBMIT", "ID": 1, "TASKS": [{"TASK": "QUERY", "TASK_ID": "…", "USER": "Ana"}, …]}
    server ← {"REPLY": "SUBMIT", "ID": 1, "TASKS": ["…", {"ERROR": "CPF must have 11 digits, has 12"}, …]}
    client → {"REQUEST": "RESULT", "ID": 2, "TASK_IDS": ["…", …], "WAIT_S": 30}
    server ← {"REPLY": "RESULT", "ID": 2, "RESULTS": [{"TASK_ID": "…", "STATE": "DONE", "STATUS": "OK", …}, …]}

The other requests are STATUS, DEAD_LIST, DEAD_RETRY, DEAD_DROP and HISTORY: see `requests`.

TASK_ID is 32 hexadecimal digits, chosen by the client, so that a repeated SUBMIT is accepted once, or else by the
server. TRACEPARENT (W3C) is of a task, or of all tasks of a SUBMIT; a task without has its own id as trace id. SALDO is
a JSON number in the legacy dialects, a text in the native one: see `money`. Errors are `{"STATUS": "NOK", "ERROR": …}`.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

PORT = 8765
QUERY, UPDATE, NOOP = "QUERY", "UPDATE", "NOOP"
KINDS = (QUERY, UPDATE, NOOP)  # NOOP does nothing, for measurements; only native workers know it
WAITING, LEASED, DONE, DEAD, UNKNOWN = STATES = ("WAITING", "LEASED", "DONE", "DEAD", "UNKNOWN")
MAX_BATCH = 1000  # tasks, reports, ids or workers in one message
MAX_NAME_CHARACTERS = 64  # of an id of a worker, server or loan
MAX_USER_CHARACTERS = 50  # users.nome
MAX_HOST_CHARACTERS = 253  # of a DNS name (RFC 1123)
MAX_ERROR_CHARACTERS = 500  # the rest is cut off
MAX_SECONDS = 86400.0  # of a term, a lease or a wait
MAX_COUNT = 2**53  # what JSON holds exactly


class Address(NamedTuple):
    """Where a server listens: a host name or address, and a port."""

    host: str
    port: int


class Task(NamedTuple):
    """A task. `account` is the USER of a QUERY, a name or a CPF of 11 digits; or the CPF of an UPDATE.

    `id` is empty where the dialect has none, or the server is to choose it; `trace` is empty if it is the same as `id`.
    """

    kind: str
    account: str = ""
    balance: Decimal | None = None  # what an UPDATE sets
    id: str = ""
    trace: str = ""


class Report(NamedTuple):
    """What became of a task. `balance` is None if the report has none; `id` is empty in dialect C only.

    `error` is the reason unless `ok`; with `retry` the failure is temporary: the task may succeed at another worker.
    `kind` and `account` are what a legacy worker says of its task, empty if it says nothing.
    """

    ok: bool
    id: str = ""
    balance: Decimal | None = None
    error: str = ""
    retry: bool = False
    kind: str = ""
    account: str = ""


class Rejection(NamedTuple):
    """Why one task of a SUBMIT is not accepted."""

    reason: str


class Load(NamedTuple):
    """A server's load: waiting tasks, how long they will wait (ms), and its workers."""

    waiting: int
    wait_ms: int
    workers: int  # that are connected, borrowed ones included
    idle: int
    lent: int
    borrowed: int


class Result(NamedTuple):
    """What is known of a task: its state, and, once it is DONE or DEAD, how it ended."""

    id: str
    state: str  # of STATES
    ok: bool = False
    balance: Decimal | None = None
    error: str = ""
    attempts: int = 0


class DeadTask(NamedTuple):
    """A task of the dead list: the last error, the number of attempts, and when it died (ms since 1970)."""

    task: Task
    error: str
    attempts: int
    at_ms: int


class BalanceChange(NamedTuple):
    """A row of the balance history: the task that set the balance, and when (ms since 1970)."""

    task_id: str
    balance: Decimal
    at_ms: int


class Message:
    """A message in any dialect."""

    __slots__ = ()


# Worker → server


@dataclass(frozen=True, slots=True)
class WorkerAlive(Message):
    """A worker is ready for tasks, or still there.

    `worker` is empty in dialect A where the worker does not say. `capacity` is how many tasks a native worker takes at
    a time, 0 for a legacy one. A borrowed worker says whose it is, and by which loan. `holds` are the ids of the tasks
    that it still has after it lost a connection; None if it does not say.
    """

    worker: str = ""
    capacity: int = 0
    owner: str = ""
    loan: str = ""
    epoch: int = 0
    holds: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class WorkerLeaving(Message):
    """A native worker takes no more tasks, and gives these back; it reports those that it has begun."""

    worker: str
    returned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reports(Message):
    """One or more reports of a worker; exactly one in a legacy dialect."""

    reports: tuple[Report, ...]
    worker: str = ""


# Server → worker


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """The answer to every ALIVE of a native worker: its leases are renewed for `lease_s`."""

    server: str
    lease_s: float


@dataclass(frozen=True, slots=True)
class Tasks(Message):
    """One or more tasks for a worker; exactly one in a legacy dialect."""

    tasks: tuple[Task, ...]
    lease_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NoTask(Message):
    """There is no task now: dialect C's answer to ALIVE."""


@dataclass(frozen=True, slots=True)
class ReportAck(Message):
    """A report has arrived: dialect C's answer to it."""


@dataclass(frozen=True, slots=True)
class Redirect(Message):
    """Go and work for `target`: as a loan, or because this server is to stop.

    `home` is the owner, and `failover` where to go if `target` is unavailable. A native worker goes home by itself when
    the loan is not renewed for `term_s`.
    """

    target: Address
    home: Address | None = None
    failover: tuple[Address, ...] = ()
    server: str = ""  # the id of `target`
    loan: str = ""
    epoch: int = 0
    term_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Return(Message):
    """Go home: the loan is over. In dialects A and B it travels as a Redirect."""

    home: Address
    loan: str = ""
    epoch: int = 0


# Server ↔ server


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """A server is alive, and asks whether its peer is."""

    server: str = ""
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatReply(Message):
    """The peer is alive. Legacy dialects repeat the id of the request."""

    server: str = ""
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class WorkerRequest(Message):
    """A saturated server asks for workers; `needed` is 0 where the dialect does not say.

    `loan` is the borrower's id for the loan: a repeated request with it is the same request.
    """

    needed: int = 0
    server: str = ""
    address: Address | None = None  # the borrower's, where the workers are to go
    loan: str = ""
    epoch: int = 0
    term_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkersGranted(Message):
    """The lender redirects these workers to the borrower, for `term_s`."""

    server: str
    workers: tuple[str, ...]
    loan: str = ""
    epoch: int = 0
    term_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkersDenied(Message):
    """The lender can spare no worker."""

    server: str = ""
    loan: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LoanRenew(Message):
    """A loan is to last for `term_s` from now: borrower → lender; and server → borrowed worker, without an answer."""

    loan: str
    epoch: int
    term_s: float
    server: str = ""


@dataclass(frozen=True, slots=True)
class LoanRenewed(Message):
    """The lender renews the loan."""

    loan: str
    epoch: int
    term_s: float


@dataclass(frozen=True, slots=True)
class LoanEnded(Message):
    """The lender does not renew the loan: it has ended, or its epoch is another one."""

    loan: str
    epoch: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Release(Message):
    """The borrower gives workers back."""

    server: str
    workers: tuple[str, ...]
    loan: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ReleaseAck(Message):
    """The owner expects these workers."""

    server: str
    workers: tuple[str, ...]
    loan: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ReleaseCompleted(Message):
    """All these workers are home: from the owner, on a connection of its own, without an answer."""

    server: str
    workers: tuple[str, ...]
    loan: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Refusal(Message):
    """The server rejects a message of a worker or a peer."""

    reason: str


PEER_REQUESTS = (Heartbeat, WorkerRequest, LoanRenew, Release, ReleaseCompleted)
PEER_REPLIES = (HeartbeatReply, WorkersGranted, WorkersDenied, LoanRenewed, LoanEnded, ReleaseAck)
