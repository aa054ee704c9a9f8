"""The life of a task, from its acceptance to its result or the dead list: a table of states. No I/O.

The database has the truth; this is what a server keeps in memory to hand tasks out. The I/O layer writes each change
that a method reports to the database. `now` is the server's monotonic time in seconds.

A task is handed to one worker at a time, under a lease. A task whose lease ends without a report, or whose worker
leaves, is the next to be handed out again, but alone: it may be what its worker died of, and must not take the other
tasks of a batch with it each time. After `max_attempts` it is dead.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The states of a task."""

    WAITING = "in the queue"
    LEASED = "a worker has it"
    DONE = "it has a result"
    DEAD = "it has failed too often; people decide"

    __hash__ = object.__hash__  # four times as fast as that of Enum, which hashes the name


class Event(Enum):
    """What takes a task from one state to the next."""

    HANDED_OUT = "a worker gets it"
    REPORTED = "a worker reports its result"
    FAILED = "its worker reports a failure or leaves, or the lease expires"
    FAILED_FOR_GOOD = "the same, for the last time"
    RETRIED = "people want it executed again"
    RETURNED = "its worker, which leaves, has not begun it"

    __hash__ = object.__hash__


TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.WAITING: {Event.HANDED_OUT: State.LEASED, Event.REPORTED: State.DONE},  # a report after the lease
    State.LEASED: {
        Event.REPORTED: State.DONE,
        Event.FAILED: State.WAITING,
        Event.RETURNED: State.WAITING,
        Event.FAILED_FOR_GOOD: State.DEAD,
    },
    State.DEAD: {Event.RETRIED: State.WAITING, Event.REPORTED: State.DONE},
    State.DONE: {},
}


_HANDED_OUT = TRANSITIONS[State.WAITING][Event.HANDED_OUT]  # set without a lookup, once per task


class Verdict(Enum):
    """What becomes of a report."""

    ACCEPTED = "the worker had the lease"
    ACCEPTED_LATE = "the worker had lost the lease, but the task had no result yet"
    DUPLICATE = "the task has a result already; the report changes nothing"
    REJECTED = "the worker never had the task, or reports a failure without the lease"
    UNKNOWN = "there is no such task in memory: the database may have its result"


@dataclass(frozen=True, slots=True)
class TaskPolicy:
    """The limits and times of tasks, in seconds."""

    lease_s: float = 30.0
    max_attempts: int = 5
    max_waiting: int = 100_000
    keep_results_s: float = 60.0  # in memory; the database keeps them longer
    max_results: int = 20_000  # in memory, the newest
    max_dead: int = 10_000  # in memory, the newest


class QueueFull(Exception):
    """The server has as many waiting tasks as it may have: try again later, or another server."""


class Task:
    """One task; `payload` and `result` are whatever the I/O layer keeps in them."""

    __slots__ = ("attempts", "handed_at", "holder", "id", "payload", "reason", "result", "state", "tried_by")

    def __init__(self, task_id: str, payload: object) -> None:
        self.id, self.payload = task_id, payload
        self.state = State.WAITING
        self.attempts = 0  # failed ones
        self.holder = ""  # the worker that has the lease
        self.tried_by: tuple[str, ...] = ()  # workers that had the lease and may still report
        self.handed_at = 0.0  # or when its lease was renewed
        self.reason = ""  # of the last failure
        self.result: object = None

    def advance(self, event: Event) -> None:
        """Enter the next state. Raises KeyError where the event cannot happen."""
        self.state = TRANSITIONS[self.state][event]


class Tasks:
    """The tasks of one server."""

    def __init__(self, policy: TaskPolicy | None = None) -> None:
        self.policy = policy or TaskPolicy()
        self.waiting = 0
        self._tasks: dict[str, Task] = {}
        self._queue: deque[Task] = deque()  # may hold tasks that got a late report: they are skipped
        self._leased: dict[str, dict[str, Task]] = {}  # by worker, in the order of handing out
        self._results: deque[tuple[float, str]] = deque()  # when they are forgotten
        self._dead: dict[str, Task] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def leased(self) -> int:
        """How many tasks workers have now."""
        return sum(map(len, self._leased.values()))

    def get(self, task_id: str) -> Task | None:
        """Return a task, None if it is not in memory."""
        return self._tasks.get(task_id)

    # From acceptance to a worker

    def submit(self, task_id: str, payload: object) -> Task:
        """Accept a task, or return the one that has this id already. Raises QueueFull."""
        known = self._tasks.get(task_id)
        if known is not None:
            return known
        if self.waiting >= self.policy.max_waiting:
            raise QueueFull(f"{self.waiting} tasks are waiting, which is the limit. Try again later.")
        return self._enqueue(Task(task_id, payload))

    def restore(self, task_id: str, payload: object, attempts: int = 0, tried_by: Iterable[str] = ()) -> Task:
        """Load a task without a result from the database, after a restart or from a server that is gone.

        A lease from before does not count: its worker has lost its connection. It may still report.
        """
        task = Task(task_id, payload)
        task.attempts, task.tried_by = attempts, tuple(tried_by)
        return self._enqueue(task)

    def hand_out(self, worker: str, count: int, now: float) -> list[Task]:
        """Lease up to `count` tasks to a worker, the oldest first; a task that has failed before comes alone."""
        held = self._leased.get(worker)
        handed: list[Task] = []
        queue = self._queue
        while len(handed) < count and queue:
            task = queue[0]
            if task.state is State.WAITING:
                if (handed or held) and (task.attempts or self._runs_alone(held)):
                    break
                task.state = _HANDED_OUT
                task.holder, task.handed_at = worker, now
                handed.append(task)
                count = 1 if task.attempts else count
            queue.popleft()
        if handed:
            self.waiting -= len(handed)
            self._leased.setdefault(worker, {}).update((task.id, task) for task in handed)
        return handed

    @staticmethod
    def _runs_alone(held: Mapping[str, Task] | None) -> bool:
        return held is not None and next(iter(held.values())).attempts > 0

    def held_by(self, worker: str) -> int:
        """Return how many tasks a worker has."""
        return len(self._leased.get(worker, ()))

    def held(self, worker: str) -> list[Task]:
        """Return the tasks that a worker has, in the order of their leases."""
        return list(self._leased.get(worker, {}).values())

    def renew(self, worker: str, now: float, task_ids: Iterable[str] | None = None) -> None:
        """Begin the leases of a worker anew: of these tasks, or of all that it has."""
        held = self._leased.get(worker, {})
        for task_id in list(held) if task_ids is None else task_ids:
            task = held.pop(task_id, None)
            if task is not None:
                task.handed_at = now
                held[task_id] = task  # at the end: `expire` relies on the order

    # From a worker to the result

    def report(self, task_id: str, worker: str, result: object, now: float) -> Verdict:
        """Give a task its result: that of an execution, or the reason why it cannot be executed at all.

        The first result counts. A worker that has lost the lease is believed too: the task's id is an idempotency key
        in the database, so its effect has taken place once, and another execution would only find it there.
        """
        task = self._tasks.get(task_id)
        if task is None:
            return Verdict.UNKNOWN
        if worker != task.holder and worker not in task.tried_by:
            return Verdict.REJECTED
        if task.state is State.DONE:
            return Verdict.DUPLICATE
        late = worker != task.holder
        self._finish(task, result, now)
        return Verdict.ACCEPTED_LATE if late else Verdict.ACCEPTED

    def fail(self, task_id: str, worker: str, reason: str) -> Verdict:
        """Count a failed attempt that its worker reports; only the holder of the lease can."""
        task = self._tasks.get(task_id)
        if task is None:
            return Verdict.UNKNOWN
        if task.state is State.DONE:
            return Verdict.DUPLICATE
        if task.state is not State.LEASED or task.holder != worker:
            return Verdict.REJECTED
        self._fail([task], reason)
        return Verdict.ACCEPTED

    def release(self, worker: str, reason: str, keep: Collection[str] = ()) -> list[Task]:
        """Take all tasks from a worker that has left, except `keep`; return them: they are waiting again, or dead."""
        return self._fail([task for task in self.held(worker) if task.id not in keep], reason)

    def give_back(self, worker: str, task_ids: Iterable[str]) -> list[Task]:
        """Queue tasks again that a worker returns without having begun them: no attempt has failed."""
        held = self._leased.get(worker, {})
        tasks = [held[task_id] for task_id in task_ids if task_id in held]
        for task in reversed(tasks):
            self._take_from_holder(task)
            task.holder = ""
            task.advance(Event.RETURNED)
            self._queue.appendleft(task)
        self.waiting += len(tasks)
        return tasks

    def expire(self, now: float) -> list[Task]:
        """Take back the tasks whose lease has ended, and forget old results; call it once a second."""
        self._forget_results(now)
        expired: list[Task] = []
        for tasks in self._leased.values():
            for task in tasks.values():
                if now - task.handed_at < self.policy.lease_s:
                    break  # the others were handed out later
                expired.append(task)
        return self._fail(expired, f"no report within {self.policy.lease_s:g} s")

    # The dead list

    def dead(self) -> Iterator[Task]:
        """Return the dead tasks, the oldest first."""
        return iter(list(self._dead.values()))

    def retry(self, task_id: str) -> bool:
        """Queue a dead task again, with all attempts; return False if it is not dead."""
        task = self._dead.pop(task_id, None)
        if task is None:
            return False
        task.advance(Event.RETRIED)
        task.attempts = 0
        self._enqueue(task)
        return True

    def drop(self, task_id: str) -> bool:
        """Forget a dead task; return False if it is not dead."""
        return self._dead.pop(task_id, None) is not None and self._tasks.pop(task_id) is not None

    # Steps that several of these share

    def _enqueue(self, task: Task) -> Task:
        self._tasks[task.id] = task
        self._queue.append(task)
        self.waiting += 1
        return task

    def _fail(self, tasks: list[Task], reason: str) -> list[Task]:
        """Count a failed attempt of each; those that may be tried again are next in the queue, in their order."""
        for task in reversed(tasks):
            self._take_from_holder(task)
            if task.holder not in task.tried_by:
                task.tried_by = (*task.tried_by, task.holder)
            task.holder = ""
            task.attempts += 1
            task.reason = reason
            if task.attempts < self.policy.max_attempts:
                task.advance(Event.FAILED)
                self._queue.appendleft(task)
                self.waiting += 1
            else:
                task.advance(Event.FAILED_FOR_GOOD)
                self._dead[task.id] = task
        while len(self._dead) > self.policy.max_dead:
            del self._tasks[self._dead.pop(next(iter(self._dead))).id]
        return tasks

    def _finish(self, task: Task, result: object, now: float) -> None:
        if task.state is State.LEASED:
            self._take_from_holder(task)  # who stays its holder, so that its next report is a duplicate
        self.waiting -= task.state is State.WAITING
        self._dead.pop(task.id, None)
        task.advance(Event.REPORTED)
        task.result, task.payload = result, None
        self._results.append((now + self.policy.keep_results_s, task.id))

    def _take_from_holder(self, task: Task) -> None:
        tasks = self._leased[task.holder]
        del tasks[task.id]
        if not tasks:
            del self._leased[task.holder]

    def _forget_results(self, now: float) -> None:
        results = self._results
        surplus = len(results) - self.policy.max_results
        while results and (surplus > 0 or results[0][0] <= now):
            self._tasks.pop(results.popleft()[1], None)
            surplus -= 1
