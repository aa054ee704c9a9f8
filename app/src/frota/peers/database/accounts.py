"""Accounts: many balances read by one SELECT, and many UPDATEs applied in one transaction, each exactly once."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, func, insert, select, true, union_all
from sqlalchemy.exc import IntegrityError

from frota.peers.database.bulk import any_of, parts, set_each
from frota.peers.database.columns import Money
from frota.peers.database.database import Database
from frota.peers.database.schema import balance_history, contas, users
from frota.peers.protocol.messages import BalanceChange, Report, Task

USER_NOT_FOUND = "User not found"
_MAX_REPETITIONS = 3  # of a transaction that another one got ahead of
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ACCOUNTS = contas.join(users, users.c.id == contas.c.fk_id_user)
# Built once: SQLAlchemy caches the text of a statement, but not the work of building it.
_BY_CPF = select(users.c.cpf, contas.c.saldo).select_from(_ACCOUNTS).where(any_of(users.c.cpf))
_BY_NAME = select(users.c.nome, contas.c.saldo).select_from(_ACCOUNTS).where(any_of(users.c.nome, "names"))
_BY_EITHER = union_all(_BY_CPF, _BY_NAME)
_ACCOUNT_IDS = select(users.c.cpf, contas.c.id).select_from(_ACCOUNTS).where(any_of(users.c.cpf))
_LOCKED = select(contas.c.id, contas.c.saldo).where(any_of(contas.c.id)).order_by(contas.c.id).with_for_update()
_APPLIED = select(balance_history.c.task_id, balance_history.c.new_balance).where(any_of(balance_history.c.task_id))
_INSERT_HISTORY = insert(balance_history)
_ANY = true()


class Account(NamedTuple):
    """An account to be created: the user's name, CPF of 11 digits, and first balance."""

    name: str
    cpf: str
    balance: Decimal


class AccountStore:
    """The accounts of a database. Its methods raise what `Database.write` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, accounts: Iterable[Account]) -> int:
        """Create the accounts whose CPF has none yet; return how many."""
        wanted = list({account.cpf: account for account in accounts}.values())
        return sum(self._database.write(partial(_create, accounts=part)) for part in parts(wanted))

    def query_balances(self, accounts: Iterable[str]) -> dict[str, Decimal | None]:
        """Return the balance of each account that is found, by its CPF or the user's name, in one SELECT.

        None if several users have that name. A text of 11 digits is a CPF.
        """
        wanted = set(accounts)
        cpfs = [account for account in wanted if is_cpf(account)]
        names = [account for account in wanted if not is_cpf(account)]
        if not wanted:
            return {}
        query = _BY_EITHER if cpfs and names else _BY_CPF if cpfs else _BY_NAME
        found: dict[str, Decimal | None] = {}
        for account, balance in self._database.read(partial(_pairs, query=query, keys=cpfs, names=names)):
            found[account] = None if account in found else balance
        return found

    def apply_updates(self, updates: Sequence[Task], worker: str) -> list[Report]:
        """Set the balance of each UPDATE's account, exactly once for each task id; return a report for each, in order.

        All in one transaction. A task id that has been applied before, or is in the batch twice, changes a balance
        once, and each time gets the same result. Several UPDATEs of one account apply in their order. An unknown
        CPF fails its task alone.
        """

        def work(connection: Connection) -> list[Report]:
            return _apply(connection, updates, worker)

        for _ in range(_MAX_REPETITIONS):
            try:
                return self._database.write(work)
            except IntegrityError as error:  # the same task id with another CPF, by another worker: now it is known
                violated = error
        raise violated

    def history(self, cpf: str, limit: int = 100) -> list[BalanceChange]:
        """Return the newest changes of an account, the newest first."""
        h = balance_history.c
        query = (
            select(h.task_id, h.new_balance, h.changed_at)
            .join_from(balance_history, contas, contas.c.id == h.account_id)
            .join(users, users.c.id == contas.c.fk_id_user)
            .where(users.c.cpf == cpf)
            .order_by(h.id.desc())
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [BalanceChange(row[0], row[1], (row[2] - _EPOCH) // timedelta(milliseconds=1)) for row in rows]

    def audit(self) -> list[str]:
        """Return what is wrong with the history of balances, nothing if each change follows from the one before it."""
        return self._database.read(_audit)


def is_cpf(account: str) -> bool:
    """Tell whether an account is given by its CPF."""
    return len(account) == 11 and account.isascii() and account.isdigit()


def _create(connection: Connection, accounts: Sequence[Account]) -> int:
    now = datetime.now(UTC)
    ids = select(users.c.cpf, users.c.id).where(users.c.cpf.in_([account.cpf for account in accounts]))
    known = dict(_pairs(connection, ids))
    fresh = [account for account in accounts if account.cpf not in known]
    if fresh:
        connection.execute(insert(users), [{"nome": account.name, "cpf": account.cpf} for account in fresh])
        user = dict(_pairs(connection, ids))
        times = {"created_at": now, "updated_at": now}
        rows = [{"fk_id_user": user[account.cpf], "saldo": account.balance, **times} for account in fresh]
        connection.execute(insert(contas), rows)
    return len(fresh)


def _apply(connection: Connection, updates: Sequence[Task], worker: str) -> list[Report]:
    ids = _account_ids(connection, {update.account for update in updates if is_cpf(update.account)})
    balances = _lock(connection, ids.values())
    results = _applied(connection, [update.id for update in updates])
    rows: list[dict[str, Any]] = []
    now = datetime.now(UTC)
    for task in updates:
        account = ids.get(task.account)
        if account is None or task.balance is None or task.id in results:
            continue
        rows.append(_change(task, account, balances[account], worker, now))
        balances[account] = results[task.id] = task.balance
    if rows:
        connection.execute(_INSERT_HISTORY, rows)
        changed = {row["account_id"]: balances[row["account_id"]] for row in rows}
        set_each(connection, contas.c.saldo, changed, _ANY, updated_at=now)
    return [_report(task, results) for task in updates]


def _account_ids(connection: Connection, cpfs: Iterable[str]) -> dict[str, int]:
    return dict(_pairs(connection, _ACCOUNT_IDS, keys=list(cpfs)))


def _lock(connection: Connection, accounts: Iterable[int]) -> dict[int, Decimal]:
    """Return the balances of accounts, which nobody else can change until the end of the transaction.

    All transactions lock accounts in the order of their ids, so that no two wait for each other.
    """
    return dict(_pairs(connection, _LOCKED, keys=sorted(accounts)))


def _applied(connection: Connection, task_ids: Sequence[str]) -> dict[str, Decimal]:
    """Return the results of tasks that have been applied. With the accounts locked nobody can apply one meanwhile."""
    return dict(_pairs(connection, _APPLIED, keys=task_ids))


def _change(task: Task, account: int, old: Decimal, worker: str, now: datetime) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "account_id": account,
        "old_balance": old,
        "new_balance": task.balance,
        "changed_at": now,
        "worker": worker,
        "trace_id": task.trace or task.id,
    }


def _report(task: Task, results: Mapping[str, Decimal]) -> Report:
    if task.id in results:
        return Report(True, task.id, results[task.id])
    return Report(False, task.id, error=USER_NOT_FOUND)


def _audit(connection: Connection) -> list[str]:
    h = balance_history.c
    follows = func.lag(h.new_balance, type_=Money()).over(partition_by=h.account_id, order_by=h.id)
    chain = select(h.task_id, h.account_id, h.old_balance, follows.label("expected")).subquery()
    broken = select(chain.c.task_id, chain.c.old_balance, chain.c.expected).where(
        chain.c.old_balance != chain.c.expected
    )
    problems = [f"task {row[0]} found {row[1]}, the one before it set {row[2]}" for row in connection.execute(broken)]
    newest = select(func.max(h.id)).group_by(h.account_id)
    ends = (
        select(contas.c.id, contas.c.saldo, h.new_balance)
        .join_from(balance_history, contas, contas.c.id == h.account_id)
        .where(h.id.in_(newest), contas.c.saldo != h.new_balance)
    )
    return problems + [f"account {row[0]} has {row[1]}, its last task set {row[2]}" for row in connection.execute(ends)]


def _pairs(connection: Connection, query: Executable, **parameters: Any) -> list[tuple[Any, Any]]:
    return [(row[0], row[1]) for row in connection.execute(query, parameters)]
