"""Memory mode (`--durable no`): tasks, results and accounts that end with the process. For trials and benchmarks.

Nothing here is durable: after a restart every task, waiting or done, is unknown, and every balance is the first one.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from frota.peers.example_accounts import ACCOUNTS, FIRST_BALANCE
from frota.peers.execution import USER_NOT_FOUND
from frota.peers.protocol.messages import DEAD, DONE, UNKNOWN, WAITING, BalanceChange, DeadTask, Report, Result, Task
from frota.peers.stored_tasks import Failure, StoredTask

_MAX_CHANGES = 1000  # of the history of one account


class MemoryStore:
    """Implements `store.Store`; `max_results` are kept, the newest."""

    blocks = durable = False

    def __init__(self, max_results: int = 20_000, accounts: Mapping[str, str] | None = None) -> None:
        self._tasks: dict[str, Task] = {}  # without a result
        self._dead: dict[str, DeadTask] = {}
        self._results: dict[str, Report] = {}
        self._max_results = max_results
        self._names = {name: cpf for cpf, name in (ACCOUNTS if accounts is None else accounts).items()}
        self._balances = dict.fromkeys(self._names.values(), FIRST_BALANCE)
        self._applied: dict[str, Decimal] = {}  # by task
        self._changes: dict[str, deque[BalanceChange]] = {}  # by CPF

    def write(self, new: Sequence[Task], failures: Sequence[Failure], reports: Sequence[Report]) -> set[str]:
        """See Store."""
        known = self._accept(new)
        self._fail(failures)
        self._finish(reports)
        return known

    def _accept(self, tasks: Sequence[Task]) -> set[str]:
        known = {
            task.id for task in tasks if task.id in self._tasks or task.id in self._results or task.id in self._dead
        }
        self._tasks.update((task.id, task) for task in tasks if task.id not in known)
        return known

    def _finish(self, reports: Sequence[Report]) -> None:
        results, tasks = self._results, self._tasks
        for report in reports:
            if tasks.pop(report.id, None) or self._dead.pop(report.id, None):
                results[report.id] = report
        while len(results) > self._max_results:
            del results[next(iter(results))]

    def _fail(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            if failure.dead and (task := self._tasks.pop(failure.id, None)):
                self._dead[task.id] = DeadTask(task, failure.reason, failure.attempts, time.time_ns() // 10**6)

    def results(self, ids: Sequence[str]) -> list[Result]:
        """See Store."""
        return [self._result(task_id) for task_id in ids]

    def load_waiting(self) -> Iterator[list[StoredTask]]:
        """See Store: there is nothing from before."""
        return iter(())

    def dead_list(self, limit: int, after: str = "") -> list[DeadTask]:
        """See Store."""
        dead = list(self._dead.values())
        begin = next((place + 1 for place, one in enumerate(dead) if one.task.id == after), 0)
        return dead[begin : begin + limit]

    def retry(self, ids: Sequence[str]) -> list[StoredTask]:
        """See Store."""
        tasks = [dead.task for task_id in ids if (dead := self._dead.pop(task_id, None))]
        self._tasks.update((task.id, task) for task in tasks)
        return [StoredTask(task) for task in tasks]

    def drop(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        return [task_id for task_id in ids if self._dead.pop(task_id, None)]

    def query_balances(self, accounts: Iterable[str]) -> dict[str, Decimal | None]:
        """See Accounts."""
        cpfs = {account: self._names.get(account, account) for account in accounts}
        return {account: self._balances[cpf] for account, cpf in cpfs.items() if cpf in self._balances}

    def apply_updates(self, updates: Sequence[Task], worker: str) -> list[Report]:  # noqa: ARG002 -- see Accounts
        """See Accounts."""
        return [self._apply(task) for task in updates]

    def history(self, cpf: str, limit: int) -> list[BalanceChange]:
        """See Store."""
        return list(self._changes.get(cpf, ()))[:limit]

    def close(self) -> None:
        """See Store."""

    def _result(self, task_id: str) -> Result:
        if report := self._results.get(task_id):
            return Result(task_id, DONE, report.ok, report.balance, report.error)
        if dead := self._dead.get(task_id):
            return Result(task_id, DEAD, False, None, dead.error, dead.attempts)
        return Result(task_id, WAITING if task_id in self._tasks else UNKNOWN)

    def _apply(self, task: Task) -> Report:
        if task.id in self._applied:
            return Report(True, task.id, self._applied[task.id])
        if task.account not in self._balances or task.balance is None:
            return Report(False, task.id, error=USER_NOT_FOUND)
        self._balances[task.account] = self._applied[task.id] = task.balance
        changes = self._changes.setdefault(task.account, deque(maxlen=_MAX_CHANGES))
        changes.appendleft(BalanceChange(task.id, task.balance, time.time_ns() // 10**6))
        return Report(True, task.id, task.balance)
