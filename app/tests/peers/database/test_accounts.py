"""Accounts: what an UPDATE changes, exactly once; each test on SQLite and on MariaDB."""

import threading
from collections.abc import Callable
from decimal import Decimal
from random import Random
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from frota.peers.database import schema
from frota.peers.database.accounts import USER_NOT_FOUND, Account, AccountStore
from frota.peers.database.database import Database
from frota.peers.protocol.messages import UPDATE, Report, Task
from support import TIMEOUT_S

CPFS = [str(number) * 11 for number in range(1, 6)]
ANA, BIA = CPFS[:2]


def an_update(cpf: str, balance: str | int, task_id: str = "") -> Task:
    return Task(UPDATE, cpf, Decimal(balance), task_id or uuid4().hex)


def create(accounts: AccountStore) -> None:
    accounts.create([Account(f"user {cpf[0]}", cpf, Decimal("100.00")) for cpf in CPFS])


def run_in_threads(*functions: Callable[[], object]) -> None:
    """Run functions at the same time; raise the first error."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 -- raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    if errors:
        raise errors[0]


@pytest.fixture(autouse=True)
def created(accounts: AccountStore) -> None:
    """Create an account of 100.00 for each CPF."""
    create(accounts)


def test_accounts_are_created_once(accounts: AccountStore) -> None:
    """An account that exists keeps its balance."""
    assert accounts.create([Account("Ana", ANA, Decimal(5)), Account("Zé", "99999999999", Decimal("0.01"))]) == 1
    assert accounts.query_balances([ANA, "99999999999"]) == {ANA: Decimal("100.00"), "99999999999": Decimal("0.01")}


def test_balances_by_cpf_and_by_name(accounts: AccountStore) -> None:
    """One call answers for CPFs and names; a shared name is None, an unknown one is absent."""
    accounts.create([Account("Zé", "99999999999", Decimal(-1)), Account("Zé", "99999999998", Decimal(1))])
    wanted = [ANA, "user 2", "Zé", "zé", "user 2 ", "USER 2", "00000000000", "' OR 1=1 --", ANA]
    assert accounts.query_balances(wanted) == {ANA: Decimal("100.00"), "user 2": Decimal("100.00"), "Zé": None}
    assert accounts.query_balances([]) == {}


@pytest.mark.parametrize("balance", ["0.00", "0.01", "-0.01", "0.10", "9999999999.99", "-9999999999.99", "1234567.89"])
def test_money_is_exact(accounts: AccountStore, balance: str) -> None:
    """Every balance comes back as the decimal number that was written."""
    task = an_update(ANA, balance)
    assert accounts.apply_updates([task], "w") == [Report(True, task.id, Decimal(balance))]
    found = accounts.query_balances([ANA])[ANA]
    assert type(found) is Decimal
    assert str(found) == balance


def test_updates_of_one_account_apply_in_order(accounts: AccountStore) -> None:
    """Each finds the balance that the one before it has set."""
    updates = [an_update(ANA, number) for number in range(1, 6)]
    assert [report.balance for report in accounts.apply_updates(updates, "w")] == [Decimal(n) for n in range(1, 6)]
    history = accounts.history(ANA)
    assert [change.task_id for change in history] == [task.id for task in reversed(updates)]
    assert accounts.history(ANA, limit=2) == history[:2]
    assert accounts.query_balances([ANA]) == {ANA: Decimal("5.00")}
    assert accounts.audit() == []


def test_repeated_update_changes_nothing(accounts: AccountStore) -> None:
    """A redelivered task, also within a batch, gets the result of its first time, even if its content differs."""
    first, second = an_update(ANA, 1), an_update(ANA, 2)
    accounts.apply_updates([first], "w-1")
    accounts.apply_updates([second, second], "w-1")
    again = [first, first._replace(account=BIA, balance=Decimal(7)), first._replace(account="0"), second]
    reports = accounts.apply_updates(again, "w-2")
    assert [report.balance for report in reports] == [Decimal(1), Decimal(1), Decimal(1), Decimal(2)]
    assert accounts.query_balances([ANA, BIA]) == {ANA: Decimal("2.00"), BIA: Decimal("100.00")}
    assert len(accounts.history(ANA)) == 2


def test_unknown_cpf_fails_its_task_alone(accounts: AccountStore) -> None:
    """The others of the batch apply."""
    updates = [an_update("00000000000", 1), an_update(ANA, 2), an_update("' OR 1=1 --", 3), an_update("é", 4)]
    reports = accounts.apply_updates(updates, "w")
    assert [(report.ok, report.error) for report in reports] == [
        (False, USER_NOT_FOUND),
        (True, ""),
        (False, USER_NOT_FOUND),
        (False, USER_NOT_FOUND),
    ]
    assert accounts.query_balances(CPFS)[ANA] == Decimal("2.00")


def test_batch_larger_than_a_statement(accounts: AccountStore) -> None:
    """A thousand accounts change in one transaction."""
    cpfs = [f"{number:011}" for number in range(1000)]
    accounts.create(Account("x", cpf, Decimal(0)) for cpf in cpfs)
    accounts.apply_updates([an_update(cpf, int(cpf)) for cpf in cpfs], "w")
    assert accounts.query_balances(cpfs) == {cpf: Decimal(int(cpf)) for cpf in cpfs}
    assert accounts.audit() == []


def test_audit_finds_a_lost_and_a_foreign_change(accounts: AccountStore, database: Database) -> None:
    """A balance that no task has set, and a change that does not follow from the one before it, are named."""
    updates = [an_update(ANA, 1), an_update(ANA, 2), an_update(BIA, 3)]
    accounts.apply_updates(updates, "w")
    account = select(schema.users.c.id).where(schema.users.c.cpf == BIA).scalar_subquery()
    foreign = update(schema.contas).where(schema.contas.c.fk_id_user == account).values(saldo=Decimal("9.99"))
    changed = update(schema.balance_history).where(schema.balance_history.c.task_id == updates[1].id)
    database.write(lambda c: (c.execute(foreign), c.execute(changed.values(old_balance=Decimal(5)))))
    first, second = accounts.audit()
    assert first == f"task {updates[1].id} found 5.00, the one before it set 1.00"
    assert "has 9.99, its last task set 3.00" in second


def test_two_workers_apply_the_same_tasks(accounts: AccountStore) -> None:
    """Eight workers that get the same batches at the same time change each balance once for each task."""
    random = Random(7)
    batches = [[an_update(random.choice(CPFS), random.randrange(1000)) for _ in range(10)] for _ in range(10)]
    reports: list[list[list[Report]]] = []

    def work() -> None:
        reports.append([accounts.apply_updates(batch, "w") for batch in batches])

    run_in_threads(*[work] * 8)
    assert all(report == reports[0] for report in reports)
    assert sum(len(accounts.history(cpf, 1000)) for cpf in CPFS) == 100
    assert accounts.audit() == []


def test_the_same_id_for_two_accounts_at_once(accounts: AccountStore) -> None:
    """A forged task with the id of another one changes at most one of the two accounts."""
    for _ in range(20):
        task = an_update(ANA, 1)
        run_in_threads(
            lambda task=task: accounts.apply_updates([task], "w-1"),  # type: ignore[misc]
            lambda task=task: accounts.apply_updates([task._replace(account=BIA)], "w-2"),  # type: ignore[misc]
        )
    assert len(accounts.history(ANA)) + len(accounts.history(BIA)) == 20
    assert accounts.audit() == []


def test_opposite_orders_do_not_block_each_other(accounts: AccountStore, database: Database) -> None:
    """Batches that name the same accounts in any order lock them in one order: nothing has to be repeated."""
    random = Random(1)

    def work() -> None:
        for _ in range(20):
            accounts.apply_updates([an_update(cpf, 1) for cpf in random.sample(CPFS, 5)], "w")

    run_in_threads(*[work] * 4)
    assert accounts.audit() == []
    assert database.engine.name == "sqlite" or database.retries == 0


_IDS = [f"{number:032}" for number in range(8)]
_UPDATES = st.builds(
    Task,
    st.just(UPDATE),
    st.sampled_from([*CPFS[:3], "00000000000"]),
    st.decimals(-9999999999, 9999999999, places=2),
    st.sampled_from(_IDS),
    st.just(""),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(batches=st.lists(st.lists(_UPDATES, max_size=6), max_size=5))
def test_updates_against_a_model(accounts: AccountStore, database: Database, batches: list[list[Task]]) -> None:
    """Any batches with any repetitions: reports, balances and history are those of a dictionary."""
    for table in (schema.balance_history, schema.contas, schema.users):
        database.write(lambda connection, table=table: connection.execute(table.delete()))  # type: ignore[misc]
    create(accounts)
    balances, results = dict.fromkeys(CPFS, Decimal("100.00")), dict[str, Decimal]()
    for batch in batches:
        for task in batch:
            if task.id not in results and task.account in balances and task.balance is not None:
                balances[task.account] = results[task.id] = task.balance
        expected = [(task.id in results, task.id, results.get(task.id)) for task in batch]
        assert [report[:3] for report in accounts.apply_updates(batch, "w")] == expected
    assert accounts.query_balances(CPFS) == balances
    changes = {change.task_id: change.balance for cpf in CPFS for change in accounts.history(cpf)}
    assert changes == results
    assert accounts.audit() == []
