"""The requests of people's commands, and their replies. All are native; `messages` shows some of them as JSON. No I/O.

A reply has the `id` of its request, which the client chooses; requests of one connection may be answered in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frota.peers.protocol.messages import BalanceChange, DeadTask, Message, Rejection, Result, Task


@dataclass(frozen=True, slots=True)
class Request(Message):
    """A request of a client."""

    id: int


@dataclass(frozen=True, slots=True)
class Reply(Message):
    """The server's reply to the request with this id."""

    id: int


@dataclass(frozen=True, slots=True)
class Submit(Request):
    """Accept these tasks. A task that is malformed was decoded to a Rejection; `trace` is of tasks that have none."""

    tasks: tuple[Task | Rejection, ...]
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Submitted(Reply):
    """For each task, in order: its id, now that it is durable, or why it is rejected."""

    tasks: tuple[str | Rejection, ...]


@dataclass(frozen=True, slots=True)
class GetResults(Request):
    """Tell what became of these tasks. The reply waits until all have ended, for `wait_s` at most."""

    task_ids: tuple[str, ...]
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Results(Reply):
    """For each task, in order, what is known of it."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class GetStatus(Request):
    """Tell the status of the server, its queue and its workers."""


@dataclass(frozen=True, slots=True)
class Status(Reply):
    """The status as a JSON object, which the server defines."""

    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GetDead(Request):
    """List dead tasks, oldest first, after the task `after`; "" begins with the first."""

    limit: int
    after: str = ""


@dataclass(frozen=True, slots=True)
class DeadTasks(Reply):
    """A part of the dead list; fewer than `limit` if it is the last one."""

    tasks: tuple[DeadTask, ...]


@dataclass(frozen=True, slots=True)
class RetryDead(Request):
    """Put these dead tasks back into the queue."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DropDead(Request):
    """Delete these dead tasks."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeadRetried(Reply):
    """Those of the tasks that were dead, and are in the queue now."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeadDropped(Reply):
    """Those of the tasks that were dead, and are deleted now."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GetHistory(Request):
    """The newest changes of an account's balance, `limit` at most."""

    cpf: str
    limit: int


@dataclass(frozen=True, slots=True)
class History(Reply):
    """Changes of a balance, newest first."""

    changes: tuple[BalanceChange, ...]


@dataclass(frozen=True, slots=True)
class RequestFailed(Reply):
    """The server rejects a request; `id` is 0 if the request had none that could be read."""

    reason: str


REQUESTS = (Submit, GetResults, GetStatus, GetDead, RetryDead, DropDead, GetHistory)
REPLIES = (Submitted, Results, Status, DeadTasks, DeadRetried, DeadDropped, History, RequestFailed)
