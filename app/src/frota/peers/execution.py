"""How tasks are executed: by a native worker, or by the server for a worker without a database. No I/O of its own."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from frota.peers.protocol.messages import QUERY, UPDATE, Report, Task

USER_NOT_FOUND = "User not found"
_AMBIGUOUS = "several users have this name: use the CPF"


class Accounts(Protocol):
    """The accounts: the calls block, and raise OSError where the database is unavailable."""

    def query_balances(self, accounts: Iterable[str]) -> Mapping[str, Decimal | None]:
        """Return the balance of each account that is found, by CPF or name; None if the name is ambiguous."""

    def apply_updates(self, updates: Sequence[Task], worker: str) -> list[Report]:
        """Set balances, each exactly once for its task's id; return a report for each, in order."""


def execute(accounts: Accounts, tasks: Sequence[Task], worker: str) -> list[Report]:
    """Execute tasks, all queries by one SELECT, all updates in one transaction; return a report for each, in order."""
    queried = [task.account for task in tasks if task.kind == QUERY]
    balances = accounts.query_balances(queried) if queried else {}
    updates = [task for task in tasks if task.kind == UPDATE]
    applied = iter(accounts.apply_updates(updates, worker) if updates else ())
    reports = []
    for task in tasks:
        if task.kind == UPDATE:
            reports.append(next(applied))
        else:
            reports.append(_query(task, balances) if task.kind == QUERY else Report(True, task.id))
    return reports


def _query(task: Task, balances: Mapping[str, Decimal | None]) -> Report:
    if task.account not in balances:
        return Report(False, task.id, error=USER_NOT_FOUND)
    balance = balances[task.account]
    return Report(False, task.id, error=_AMBIGUOUS) if balance is None else Report(True, task.id, balance)
