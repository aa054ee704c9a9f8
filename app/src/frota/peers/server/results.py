"""From a submitted task to its durable result: acceptance, results, and the clients that wait for them."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import count

from frota.peers.protocol.messages import DEAD, DONE, NOOP, UNKNOWN, DeadTask, Rejection, Report, Result, Task
from frota.peers.server.event_log import EventLog
from frota.peers.server.storage.group_commit import GroupCommit
from frota.peers.stored_tasks import Failure, StoredTask
from frota.peers.tasks import State, Tasks
from frota.peers.tasks import Task as QueuedTask

Submission = Sequence[str | Rejection]


class _Wait:
    """A client's request that waits until all its tasks have ended."""

    __slots__ = ("future", "missing")

    def __init__(self, missing: set[str], future: "asyncio.Future[None]") -> None:
        self.missing, self.future = missing, future


class Results:
    """Accepts tasks and makes their ends durable. `queued` is called when tasks are waiting."""

    def __init__(self, tasks: Tasks, event_log: EventLog, queued: Callable[[], None]) -> None:
        self.tasks, self._event_log, self._queued = tasks, event_log, queued
        self.commit: GroupCommit  # set before the first use: it needs `finished`
        self._accepting = 0  # tasks that are not durable yet
        self._waits: dict[str, list[_Wait]] = {}  # by task
        self._acks: dict[str, Callable[[], None]] = {}  # by task: a worker that waits until its report is durable

    # Acceptance

    def submit(self, tasks: Iterable[Task | Rejection], trace: str, done: Callable[[Submission], None]) -> None:
        """Accept tasks; call done(the id of each, or why it is rejected) when they are durable."""
        outcome: list[str | Rejection] = []
        fresh: list[Task] = []
        free = self.tasks.policy.max_waiting - self.tasks.waiting - self._accepting
        new_ids = _ids()
        for task in tasks:
            if isinstance(task, Rejection):
                outcome.append(task)
                continue
            named = Task(*task[:3], task.id or next(new_ids), task.trace or trace)
            if self.tasks.get(named.id):
                outcome.append(named.id)
            elif len(fresh) < free:
                fresh.append(named)
                outcome.append(named.id)
            else:
                outcome.append(
                    Rejection(f"{self.tasks.waiting} tasks are waiting, which is the limit. Try again later.")
                )
        self._event_log.submitted_total += len(fresh)
        self._event_log.rejected_tasks_total += len(outcome) - len(fresh)
        if not fresh:
            done(outcome)
            return
        self._accepting += len(fresh)
        self.commit.accept(fresh, lambda known: self._accepted(fresh, outcome, known, done))

    def restore(self, stored: Iterable[StoredTask]) -> int:
        """Queue tasks of the store; return how many."""
        count = 0
        for task, attempts, holder, _ in stored:
            if self.tasks.get(task.id) is None:
                self.tasks.restore(task.id, task, attempts, (holder,) if holder else ())
                count += 1
        self._queued()
        return count

    def _accepted(
        self,
        fresh: list[Task],
        outcome: list[str | Rejection],
        known: set[str] | OSError,
        done: Callable[[Submission], None],
    ) -> None:
        self._accepting -= len(fresh)
        if isinstance(known, OSError):
            ids, reason = {task.id for task in fresh}, Rejection(f"not accepted, try again: {known}")
            done([reason if one in ids else one for one in outcome])
            return
        for task in fresh:
            if task.id not in known:
                self.tasks.submit(task.id, task)
        self._event_log.accepted(fresh)
        done(outcome)
        self._queued()

    # The end of a task

    def finished(self, reports: Sequence[Report]) -> None:
        """Note results that are durable now, and answer those that wait for them."""
        get, waits, acks = self.tasks.get, self._waits, self._acks
        self._event_log.finished(reports, self._trace_of)
        for report in reports:
            task = get(report.id)
            if task is not None:
                task.result = report
            if acks and (ack := acks.pop(report.id, None)):
                ack()
            if report.id in waits:
                self._ended(report.id)

    def failed(self, tasks: Sequence[QueuedTask]) -> None:
        """Write failed attempts down: the tasks are waiting again, or dead."""
        if not tasks:
            return
        self.commit.fail([Failure(task.id, task.attempts, task.reason, task.state is State.DEAD) for task in tasks])
        for task in tasks:
            self._event_log.attempt_failed(task)
            if task.state is State.DEAD:
                self._ended(task.id)
        self._queued()

    def acknowledge(self, task_id: str, ack: Callable[[], None]) -> None:
        """Call `ack` when the result of a task is durable."""
        self._acks[task_id] = ack

    # Questions of clients

    async def results(self, ids: Sequence[str], wait_s: float) -> list[Result]:
        """Return what is known of tasks, once all have ended, or after `wait_s`. Raises OSError."""
        missing = {task_id for task_id in ids if self._is_open(task_id)}
        if missing and wait_s > 0:
            await self._wait(missing, wait_s)
        found = {task_id: self._result(task) for task_id in ids if (task := self.tasks.get(task_id))}
        unknown = [task_id for task_id in ids if task_id not in found]
        if unknown:
            found.update((result.id, result) for result in await self.commit.call(self.commit.store.results, unknown))
        return [found.get(task_id) or Result(task_id, UNKNOWN) for task_id in ids]

    async def dead(self, limit: int, after: str) -> list[DeadTask]:
        """Return a part of the dead list. Raises OSError."""
        return await self.commit.call(self.commit.store.dead_list, limit, after)

    async def retry(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Queue dead tasks again; return those that were dead. Raises OSError."""
        await self.commit.drain()
        stored = await self.commit.call(self.commit.store.retry, ids)
        retried = tuple(one.task.id for one in stored)
        for task_id in retried:
            self.tasks.drop(task_id)
        self.restore(stored)
        return retried

    async def drop(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Delete dead tasks; return those that were dead. Raises OSError."""
        await self.commit.drain()
        dropped = await self.commit.call(self.commit.store.drop, ids)
        for task_id in dropped:
            self.tasks.drop(task_id)
        return tuple(dropped)

    def _is_open(self, task_id: str) -> bool:
        task = self.tasks.get(task_id)
        return task is not None and task.state is not State.DEAD and not isinstance(task.result, Report)

    def _trace_of(self, task_id: str) -> str:
        task = self.tasks.get(task_id)
        return task.result.trace if task and isinstance(task.result, Task) else ""

    def _result(self, task: QueuedTask) -> Result:
        if isinstance(task.result, Report):
            return Result(task.id, DONE, task.result.ok, task.result.balance, task.result.error, task.attempts)
        if task.state is State.DEAD:
            return Result(task.id, DEAD, False, None, task.reason, task.attempts)
        state = State.LEASED if task.state is State.DONE else task.state  # its result is not durable yet
        return Result(task.id, state.name, attempts=task.attempts)

    async def _wait(self, missing: set[str], wait_s: float) -> None:
        wait = _Wait(missing, asyncio.get_running_loop().create_future())
        for task_id in missing:
            self._waits.setdefault(task_id, []).append(wait)
        try:
            await asyncio.wait([wait.future], timeout=wait_s)
        finally:
            for task_id in wait.missing:
                self._waits[task_id].remove(wait)
                if not self._waits[task_id]:
                    del self._waits[task_id]

    def _ended(self, task_id: str) -> None:
        for wait in self._waits.pop(task_id, ()):
            wait.missing.discard(task_id)
            if not wait.missing and not wait.future.done():
                wait.future.set_result(None)


def _ids() -> Iterator[str]:
    """Yield new ids of tasks, which ascend with time: that keeps the index of a large table in order."""
    prefix = f"{time.time_ns() // 10**6:012x}{os.urandom(8).hex()}"
    for number in count():
        yield f"{prefix}{number:04x}"


def needs_execution(task: Task, balance: Decimal | None, *, native: bool) -> bool:
    """Tell whether the server executes a task whose worker reports success: one without a database cannot."""
    return task.kind != NOOP and not (native and balance is not None)
