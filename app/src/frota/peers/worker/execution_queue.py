"""The tasks that a worker has: executed batch by batch, in a thread if there is a database."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from frota.core.threads import Threads
from frota.logs import log
from frota.peers.execution import Accounts, execute
from frota.peers.protocol.messages import NOOP, Report, Task

_DIAGNOSTICS = "the worker's own error, see its journal"


class ExecutionQueue:
    """Executes batches in order; `executed` gets the reports of each.

    Without `accounts` a success is reported without a balance: the server then executes the task itself.
    """

    def __init__(self, worker: str, accounts: Accounts | None, executed: Callable[[list[Report]], None]) -> None:
        self._worker, self._accounts, self._executed = worker, accounts, executed
        self._threads = Threads(1, "execute")
        self._waiting: deque[Sequence[Task]] = deque()
        self._running: asyncio.Task[None] | None = None
        self.executed_total = self.failed_total = 0

    @property
    def idle(self) -> bool:
        """Whether there is no task."""
        return not self._waiting and self._running is None

    def add(self, tasks: Sequence[Task]) -> None:
        """Execute tasks after those that are here already."""
        if self._running is None and (self._accounts is None or all(task.kind == NOOP for task in tasks)):
            self._report([Report(True, task.id, kind=task.kind, account=task.account) for task in tasks])
            return
        self._waiting.append(tasks)
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    def give_back(self) -> list[str]:
        """Forget the tasks that have not begun; return their ids."""
        ids = [task.id for tasks in self._waiting for task in tasks]
        self._waiting.clear()
        return ids

    async def finish(self) -> None:
        """Wait for the batch that has begun."""
        while self._running:
            await asyncio.wait([self._running])

    def close(self) -> None:
        """Stop the thread after its current call."""
        self._threads.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                tasks = self._waiting.popleft()
                reports = await loop.run_in_executor(self._threads, self._execute, tasks)
                if not self._waiting:
                    self._running = None  # before the report: it may be what a departure waits for
                self._report(reports)
        finally:
            self._running = None

    def _report(self, reports: list[Report]) -> None:
        self.executed_total += len(reports)
        self.failed_total += sum(not report.ok for report in reports)
        self._executed(reports)

    def _execute(self, tasks: Sequence[Task]) -> list[Report]:
        """Execute a batch; called in the thread."""
        if self._accounts is None:
            return [Report(True, task.id, kind=task.kind, account=task.account) for task in tasks]
        try:
            return execute(self._accounts, tasks, self._worker)
        except OSError as error:
            return [Report(False, task.id, error=str(error), retry=True) for task in tasks]
        except Exception as error:  # noqa: BLE001 -- the edge of a thread: the server gets a report
            log.record("ERROR", "internal_error", "a batch failed", error=error)
            return [Report(False, task.id, error=_DIAGNOSTICS, retry=True) for task in tasks]
