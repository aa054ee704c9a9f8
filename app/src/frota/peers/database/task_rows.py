"""Rows of the table of tasks: from tasks to rows and back, and the queries that several methods share."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, or_, select

from frota.peers.database.schema import servers, tasks
from frota.peers.database.servers import Owner
from frota.peers.protocol.messages import DONE, MAX_ERROR_CHARACTERS, DeadTask, Result, Task
from frota.peers.stored_tasks import StoredTask

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_row(task: Task, owner: Owner, now: datetime) -> dict[str, Any]:
    """Return the row of a task that is accepted now."""
    return {
        "id": task.id,
        "owner": owner.server,
        "owner_epoch": owner.epoch,
        "kind": task.kind,
        "account": task.account,
        "balance": task.balance,
        "trace_id": task.trace or task.id,
        "accepted_at": now,
    }


def in_order() -> Select[Any]:
    """Return the query of all tasks, the oldest first."""
    return select(tasks).order_by(tasks.c.accepted_at, tasks.c.id)


def oldest(server: str, state: str, limit: int, after: StoredTask | None = None) -> Select[Any]:
    """Return the query of a server's oldest tasks in one state: in the order of the index, nothing is sorted."""
    query = in_order().where(tasks.c.owner == server, tasks.c.state == state).limit(limit)
    return query.where(later_than(tasks.c.accepted_at, after.accepted_at, after.task.id)) if after else query


def fetch(connection: Connection, query: Select[Any]) -> list[StoredTask]:
    """Return the tasks that a query finds."""
    rows = connection.execute(query)
    return [StoredTask(task_of(row), row.attempts, row.holder, row.accepted_at) for row in rows]


def task_of(row: Row[Any]) -> Task:
    """Return the task of a row."""
    return Task(row.kind, row.account, row.balance, row.id, row.trace_id)


def result_of(row: Row[Any]) -> Result:
    """Return what is known of the task of a row."""
    ok = row.state == DONE and not row.reason
    balance = row.balance if ok else None
    return Result(row.id, row.state, ok, balance, row.reason, row.attempts)


def fitting(text: str) -> str:
    """Return a reason that fits the column; "" means success."""
    return text[:MAX_ERROR_CHARACTERS] or "no reason given"


def later_than(column: Column[Any], moment: datetime | None, task_id: str) -> ColumnElement[bool]:
    """Return the condition for what comes after a task in the order of a time and of ids."""
    return (column >= moment) & or_(column > moment, tasks.c.id > task_id)


def of_any_owner(connection: Connection) -> ColumnElement[bool]:
    """Return a condition that all tasks match, so that the index by owner and state is used."""
    return tasks.c.owner.in_(connection.scalars(select(servers.c.id)).all())


def dead_task_of(row: Row[Any]) -> DeadTask:
    """Return the dead task of a row."""
    at_ms = (row.finished_at - _EPOCH) // timedelta(milliseconds=1)
    return DeadTask(task_of(row), row.reason, row.attempts, at_ms)
