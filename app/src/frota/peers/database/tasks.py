"""The tasks in the database: accepted, handed out, finished, dead. Many of them in one transaction.

A task is owned by the server that accepted it, which keeps it in memory and decides; this is what survives the server.
The owner writes attempts as numbers, not as increments, and the first result counts: so every method can be repeated
when it is unknown whether a transaction took place.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Update, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from frota.peers.database import servers
from frota.peers.database.bulk import any_of, execute, set_each
from frota.peers.database.database import Database
from frota.peers.database.schema import tasks
from frota.peers.database.servers import Owner
from frota.peers.database.task_rows import (
    dead_task_of,
    fetch,
    fitting,
    in_order,
    later_than,
    new_row,
    of_any_owner,
    oldest,
    result_of,
)
from frota.peers.protocol.messages import (
    DEAD,
    DONE,
    LEASED,
    UNKNOWN,
    WAITING,
    DeadTask,
    Report,
    Result,
    Task,
)
from frota.peers.stored_tasks import Failure, StoredTask

PAGE = 1000  # tasks of a transaction that reads or moves many
_LIVE_STATES = (LEASED, WAITING)
_LIVE = tasks.c.state.in_(_LIVE_STATES)
_UNFINISHED = tasks.c.state != DONE
_IS_KEY = any_of(tasks.c.id)
_RESULT: list[Column[Any]] = [tasks.c.id, tasks.c.state, tasks.c.balance, tasks.c.reason, tasks.c.attempts]
_RESULTS = select(*_RESULT).where(_IS_KEY)
_INSERT = insert(tasks)
_FINISH = (
    update(tasks)
    .where(_IS_KEY, _UNFINISHED)
    .values(state=DONE, reason="", finished_at=bindparam("now", type_=tasks.c.finished_at.type))
)


class Lease(NamedTuple):
    """A task that a worker has until `end`."""

    id: str
    worker: str
    end: datetime


class Batch(NamedTuple):
    """What a server writes at once. A task may be in several of these, which are executed in this order."""

    new: Sequence[Task] = ()
    leases: Sequence[Lease] = ()
    failures: Sequence[Failure] = ()
    reports: Sequence[Report] = ()


class TaskStore:
    """The tasks of a database. Its methods raise what `Database.write` raises; some raise Superseded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # From acceptance to the result

    def write(self, batch: Batch, owner: Owner) -> set[str]:
        """Write all of a batch in one transaction; return the ids of new tasks that had been accepted before.

        Such a task stays with the server that accepted it. MariaDB stores rows in the order of their ids: ids that
        ascend with time cost it a quarter less CPU time. Raises Superseded.
        """
        now = datetime.now(UTC)
        rows = {task.id: new_row(task, owner, now) for task in batch.new}
        known: set[str] = set()

        def work(connection: Connection) -> None:
            servers.fence(connection, owner)
            if fresh := [row for row in rows.values() if row["id"] not in known]:
                connection.execute(_INSERT, fresh)
            _hand_out(connection, batch.leases)
            _fail(connection, batch.failures, now)
            _finish(connection, batch.reports, now)

        while True:
            try:
                self._database.write(work)
            except IntegrityError:  # rare: checking first would cost more
                others, ours = self._find_accepted(rows, owner, now)
                if others == known and not ours:
                    raise  # another constraint is violated
                known = others
                if not ours:
                    continue
            return known

    def accept(self, new: Sequence[Task], owner: Owner) -> set[str]:
        """Make tasks durable, each with an id; return as `write`. Raises Superseded."""
        return self.write(Batch(new=new), owner)

    def hand_out(self, leases: Sequence[Lease], owner: Owner) -> None:
        """Write down which workers have which tasks. Raises Superseded.

        Not required for correctness: after a restart a lease does not count, and the id of a task is an idempotency
        key. It is for people who look for a task.
        """
        self.write(Batch(leases=leases), owner)

    def fail(self, failures: Sequence[Failure], owner: Owner) -> None:
        """Count failed attempts: the tasks are waiting again, or dead. Raises Superseded."""
        self.write(Batch(failures=failures), owner)

    def finish(self, reports: Sequence[Report]) -> int:
        """Give tasks their results; return how many had none before. Servers of any epoch may: a result is a result.

        The first result of a task counts. A report without a balance leaves the task the one that it has: an UPDATE
        what it sets.
        """
        return self._database.write(partial(_finish, reports=reports, now=datetime.now(UTC)))

    def results(self, ids: Sequence[str]) -> list[Result]:
        """Return what is known of tasks, in the order of `ids`; UNKNOWN for one that there is not, or no longer."""

        def work(connection: Connection) -> dict[str, Result]:
            return {row.id: result_of(row) for row in connection.execute(_RESULTS, {"keys": ids})}

        found = self._database.read(work)
        return [found.get(task_id) or Result(task_id, UNKNOWN) for task_id in ids]

    def expire_results(self, before: datetime, limit: int = PAGE) -> int:
        """Delete results that are older; return how many, at most about `limit`. Repeat until it returns 0."""
        old = (tasks.c.state == DONE) & (tasks.c.accepted_at < before) & (tasks.c.finished_at < before)

        def work(connection: Connection) -> int:
            ids = connection.scalars(select(tasks.c.id).where(old, of_any_owner(connection)).limit(limit)).all()
            return execute(connection, delete(tasks).where(_IS_KEY, tasks.c.state == DONE), ids)

        return self._database.write(work)

    # After a restart, and for a server that is gone

    def load_waiting(self, server: str, page: int = PAGE) -> Iterator[list[StoredTask]]:
        """Return the tasks of a server that have no result, a page in each transaction.

        Those that workers had come first; within these, and within the others, the oldest.
        """
        for state in _LIVE_STATES:
            last = None
            while found := self._database.read(partial(fetch, query=oldest(server, state, page, last))):
                yield found
                last = found[-1]

    def take_over(self, gone: str, owner: Owner, term_s: float, page: int = PAGE) -> list[StoredTask]:
        """Move tasks without a result from a server to `owner`; return those moved, ordered as by `load_waiting`.

        Only from a server that has not been seen for `term_s` seconds. It is fenced off: its writes fail from now on
        until it registers again. Repeat until the list is empty. Several peers may do so at once: each task moves to
        one of them. After a lost connection tasks may have moved that were not returned: look into `load_waiting` on
        DatabaseUnavailable. Raises Superseded if `owner` itself is.
        """
        moved: dict[str, StoredTask] = {}

        def work(connection: Connection) -> None:
            if not servers.supersede_gone(connection, gone, term_s):
                return
            servers.fence(connection, owner)
            found: list[StoredTask] = []
            for state in _LIVE_STATES:
                found += fetch(connection, oldest(gone, state, page - len(found)).with_for_update())
            ids = [stored.task.id for stored in found]
            changes = {"owner": owner.server, "owner_epoch": owner.epoch, "state": WAITING, "lease_end": None}
            execute(connection, _change((tasks.c.owner == gone) & _LIVE, **changes), ids)
            moved.update((stored.task.id, stored) for stored in found)

        self._database.write(work)
        return list(moved.values())

    def find_gone(self, term_s: float) -> list[str]:
        """Return the servers that have tasks and have not been seen for `term_s` seconds."""

        def work(connection: Connection) -> list[str]:
            gone = servers.find_gone(connection, term_s)
            return [
                server
                for server in gone
                if connection.scalar(in_order().where(tasks.c.owner == server, _LIVE).limit(1))
            ]

        return self._database.read(work)

    # The dead list

    def dead_list(self, limit: int = 100, after: str = "") -> list[DeadTask]:
        """Return dead tasks of all servers, the oldest first, after the task `after`."""

        def work(connection: Connection) -> list[DeadTask]:
            query = select(tasks).where(tasks.c.state == DEAD, of_any_owner(connection))
            if after:
                died_at = connection.scalar(select(tasks.c.finished_at).where(tasks.c.id == after))
                query = query.where(later_than(tasks.c.finished_at, died_at, after))
            rows = connection.execute(query.order_by(tasks.c.finished_at, tasks.c.id).limit(limit))
            return [dead_task_of(row) for row in rows]

        return self._database.read(work)

    def retry(self, ids: Collection[str], owner: Owner) -> list[StoredTask]:
        """Make dead tasks of any server wait again, with all attempts, for `owner`; return them. Raises Superseded."""
        retried: dict[str, StoredTask] = {}

        def work(connection: Connection) -> None:
            servers.fence(connection, owner)
            query = in_order().where(tasks.c.id.in_(ids), tasks.c.state == DEAD).with_for_update()
            dead = {stored.task.id: stored._replace(attempts=0) for stored in fetch(connection, query)}
            changes = {"owner": owner.server, "owner_epoch": owner.epoch, "state": WAITING, "attempts": 0}
            execute(connection, _change(tasks.c.state == DEAD, **changes, finished_at=None), list(dead))
            retried.update(dead)

        self._database.write(work)
        return list(retried.values())

    def drop(self, ids: Collection[str]) -> list[str]:
        """Delete dead tasks of any server; return the ids of those that were dead."""
        dropped: dict[str, None] = {}
        query = select(tasks.c.id).where(tasks.c.id.in_(ids), tasks.c.state == DEAD).with_for_update()

        def work(connection: Connection) -> None:
            dead = connection.scalars(query).all()
            execute(connection, delete(tasks).where(_IS_KEY, tasks.c.state == DEAD), dead)
            dropped.update(dict.fromkeys(dead))

        self._database.write(work)
        return list(dropped)

    # Steps that several of these share

    def _find_accepted(self, ids: Collection[str], owner: Owner, at: datetime) -> tuple[set[str], set[str]]:
        """Return the ids that others have accepted, and those that this call has, before it lost the connection."""
        ours = (tasks.c.owner == owner.server) & (tasks.c.owner_epoch == owner.epoch) & (tasks.c.accepted_at == at)
        query = select(tasks.c.id, ours.label("ours")).where(tasks.c.id.in_(ids))
        found = self._database.read(lambda connection: connection.execute(query).all())
        return {row.id for row in found if not row.ours}, {row.id for row in found if row.ours}


def _hand_out(connection: Connection, leases: Sequence[Lease]) -> None:
    groups: dict[tuple[str, datetime], list[str]] = {}
    for lease in leases:
        groups.setdefault((lease.worker, lease.end), []).append(lease.id)
    for (worker, end), ids in groups.items():
        execute(connection, _change(_LIVE, state=LEASED, holder=worker, lease_end=end), ids)


def _fail(connection: Connection, failures: Sequence[Failure], now: datetime) -> None:
    groups: dict[tuple[int, str, bool], list[str]] = {}
    for failure in failures:
        groups.setdefault((failure.attempts, fitting(failure.reason), failure.dead), []).append(failure.id)
    for (attempts, reason, dead), ids in groups.items():
        ending = {"state": DEAD, "finished_at": now} if dead else {"state": WAITING}
        execute(connection, _change(_LIVE, attempts=attempts, reason=reason, lease_end=None, **ending), ids)


def _finish(connection: Connection, reports: Sequence[Report], now: datetime) -> int:
    first = {report.id: report for report in reversed(reports)}.values()
    plain = [report.id for report in first if report.ok and report.balance is None]
    read = {report.id: report.balance for report in first if report.ok and report.balance is not None}
    failed = {report.id: fitting(report.error) for report in first if not report.ok}
    done: dict[str, Any] = {"state": DONE, "finished_at": now}
    count = execute(connection, _FINISH, plain, now=now)
    count += set_each(connection, tasks.c.balance, read, _UNFINISHED, **done, reason="")
    return count + set_each(connection, tasks.c.reason, failed, _UNFINISHED, **done)


def _change(condition: ColumnElement[bool], **changes: Any) -> Update:
    return update(tasks).where(_IS_KEY, condition).values(changes)
