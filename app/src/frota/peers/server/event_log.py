"""The log records of the peers' server: connections, workers, tasks and peers, each kind rate limited; and counts."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter
from frota.net.addresses import endpoint
from frota.peers.protocol.messages import Report, Task
from frota.peers.tasks import State
from frota.peers.tasks import Task as QueuedTask

T = TypeVar("T")


class Caller(Protocol):
    """Whatever has the address of a caller."""

    address: tuple[str, int]


class EventLog(RateLimitedLog):
    """Writes the records, and counts; the observer of the TCP server."""

    def __init__(self, tasks_per_second: int) -> None:
        self.connected_total = self.rejected_total = self.malformed_total = self.forbidden_total = 0
        self.rate_limited_total = self.taken_over_total = self.expired_total = 0
        self.submitted_total = self.rejected_tasks_total = self.finished_total = self.failed_attempts_total = 0
        self.dead_total = self.rejected_reports_total = 0
        self._tasks = RateLimiter("tasks_suppressed", "tasks", tasks_per_second)
        self._connections = RateLimiter("connections_suppressed", "connections opened or closed")
        self._errors = RateLimiter("errors_suppressed", "errors of connections")
        self._workers = RateLimiter("workers_suppressed", "workers that arrived or left")
        self._failures = RateLimiter("failures_suppressed", "failed attempts of tasks")
        super().__init__(self._tasks, self._connections, self._errors, self._workers, self._failures)

    # Connections

    def connected(self, connection: Caller, count: int) -> None:
        """Count and log an accepted connection; `count` includes it."""
        self.connected_total += 1
        if self._connections.allow():
            where = endpoint(*connection.address)
            record("DEBUG", "connected", f"{where} connected, {count} connections", PEER=where)

    def disconnected(self, connection: Caller) -> None:
        """Log the end of a connection."""
        if self._connections.allow():
            where = endpoint(*connection.address)
            record("DEBUG", "disconnected", f"{where} disconnected", PEER=where)

    def rejected(self, connection: Caller, max_connections: int) -> None:
        """Count and log a connection above the limit."""
        self.rejected_total += 1
        self.aborted(connection, f"rejected: {max_connections} connections are open, which is the limit")

    def aborted(self, connection: Caller, reason: str) -> None:
        """Log that the server ends a connection."""
        if self._errors.allow():
            where = endpoint(*connection.address)
            record("WARNING", "connection_failed", f"{where}: {printable(reason)}", PEER=where)

    def malformed(self, connection: Caller, reason: str) -> None:
        """Count and log a message that is rejected."""
        self.malformed_total += 1
        if self._errors.allow():
            where = endpoint(*connection.address)
            record("WARNING", "message_malformed", f"{where}: {printable(reason)}", PEER=where)

    def forbidden(self, where: str, reason: str) -> None:
        """Count and log a message that its sender may not send."""
        self.forbidden_total += 1
        if self._errors.allow():
            record("WARNING", "message_forbidden", f"{where}: {printable(reason)}", PEER=where)

    def rate_limited(self, connection: Caller) -> None:
        """Count and log that a connection exceeds the rate limit."""
        self.rate_limited_total += 1
        if self._errors.allow():
            where = endpoint(*connection.address)
            text = f"{where}: exceeds the rate limit; reading is paused (PEERS_MESSAGES_PER_SECOND)"
            record("WARNING", "rate_limited", text, PEER=where)

    # Workers

    def worker_arrived(self, worker: str, where: str, owner: str) -> None:
        """Log that a worker has connected."""
        if self._workers.allow():
            text = f"worker {printable(worker)} of {printable(owner)} has connected"
            record("INFO", "worker_connected", text, WORKER=worker, PEER=where)

    def worker_left(self, worker: str, where: str, reason: str) -> None:
        """Log that a worker is not here any more."""
        if self._workers.allow():
            text = f"worker {printable(worker)} has left: {reason}"
            record("INFO", "worker_disconnected", text, WORKER=worker, PEER=where)

    def reports_rejected(self, worker: str, where: str, ids: Sequence[str]) -> None:
        """Count and log reports of tasks that the worker does not have."""
        self.rejected_reports_total += len(ids)
        if self._errors.allow():
            text = (
                f"worker {printable(worker)} reports {len(ids)} tasks that it does not have, {printable(ids[0])} first"
            )
            record("WARNING", "report_rejected", text, WORKER=worker, PEER=where, COUNT=len(ids))

    # Tasks

    def accepted(self, tasks: Sequence[Task]) -> None:
        """Log tasks that are durable now."""
        for task in self._logged(tasks):
            record(
                "INFO",
                "task_accepted",
                f"{task.kind} {task.id} is accepted",
                TASK=task.id,
                TRACE_ID=task.trace or task.id,
            )

    def finished(self, reports: Sequence[Report], trace_of: Callable[[str], str]) -> None:
        """Count and log results that are durable now; `trace_of` returns the trace id of a task, "" if it has none."""
        self.finished_total += len(reports)
        for report in self._logged(reports):
            text = f"task {report.id} is done: {'OK' if report.ok else printable(report.error)}"
            record("INFO", "task_done", text, TASK=report.id, TRACE_ID=trace_of(report.id) or report.id)

    def attempt_failed(self, task: QueuedTask) -> None:
        """Count and log a failed attempt."""
        self.failed_attempts_total += 1
        dead = task.state is State.DEAD
        self.dead_total += dead
        if not self._failures.allow():
            return
        if dead:
            level, event, fate = "ERROR", "task_dead", "it is dead, see `frota peers dead`"
        else:
            level, event, fate = "WARNING", "task_failed", "it is waiting again"
        text = f"attempt {task.attempts} of task {task.id} failed: {printable(task.reason)}; {fate}"
        record(level, event, text, TASK=task.id, TRACE_ID=getattr(task.payload, "trace", "") or task.id)

    def taken_over(self, count: int) -> None:
        """Count and log tasks of a server that is gone."""
        self.taken_over_total += count
        text = f"{count} tasks of a server that is gone are waiting here now"
        record("WARNING", "tasks_taken_over", text, COUNT=count)

    def _logged(self, items: Sequence[T]) -> Sequence[T]:
        """Return those that may be logged one by one; count the others."""
        if self._tasks.exhausted:
            self._tasks.suppress(len(items))
            return ()
        return [item for item in items if self._tasks.allow()]
