"""A real MariaDB that is killed, restarted, locked or gone: nothing is lost, and nothing is applied twice."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select, text

from frota.peers.database import revision, schema
from frota.peers.database.accounts import Account, AccountStore
from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import Database, open_database
from frota.peers.database.errors import DatabaseRejects, DatabaseUnavailable
from frota.peers.database.servers import ServerStore
from frota.peers.database.tasks import TaskStore
from frota.peers.protocol.messages import NOOP, UPDATE, Report, Task
from frota.peers.stored_tasks import Failure
from support import TIMEOUT_S, until
from support.certificates import certificate
from support.mariadb import MariaDb

pytestmark = pytest.mark.mariadb
CPFS = [f"{number:011}" for number in range(20)]


@pytest.fixture
def accounts(mariadb: MariaDb) -> AccountStore:
    """Give accounts of 0.00, in a database that may be away for a minute."""
    store = AccountStore(mariadb.open(timeout_s=TIMEOUT_S))
    store.create(Account("x", cpf, Decimal(0)) for cpf in CPFS)
    return store


def test_updates_while_the_database_is_killed(mariadb: MariaDb, accounts: AccountStore) -> None:
    """Eight workers with redeliveries, and three kills: every UPDATE takes effect once, audited from the history."""
    random = Random(3)
    batches = [
        [Task(UPDATE, random.choice(CPFS), Decimal(random.randrange(10**6)).scaleb(-2), uuid4().hex) for _ in range(16)]
        for _ in range(400)
    ]
    deliveries = [batch for batch in batches for _ in range(random.choice([1, 1, 2, 3]))]
    random.shuffle(deliveries)
    with ThreadPoolExecutor(8) as workers:
        futures = [
            workers.submit(accounts.apply_updates, batch, f"w-{number % 8}") for number, batch in enumerate(deliveries)
        ]
        for part in (0.2, 0.4, 0.6):
            until(partial(_are_done, futures, part * len(futures)), "updates are applied")
            mariadb.restart()
    results: dict[str, Report] = {}
    for report in (report for future in futures for report in future.result()):
        assert results.setdefault(report.id, report) == report  # the same result at each delivery
    sent = {task.id: task.balance for batch in batches for task in batch}
    assert {task_id: report.balance for task_id, report in results.items()} == sent
    changes = [change for cpf in CPFS for change in accounts.history(cpf, 10_000)]
    assert len(changes) == len(sent)
    assert {change.task_id: change.balance for change in changes} == sent
    assert accounts.audit() == []


def test_tasks_accepted_while_the_database_is_killed(mariadb: MariaDb) -> None:
    """Whatever `accept` confirmed is there, once, and none was reported as known."""
    database = mariadb.open(timeout_s=TIMEOUT_S)
    tasks, owner = TaskStore(database), ServerStore(database).register("s-1")
    accepted: list[str] = []
    stop = threading.Event()

    def accept() -> None:
        while not stop.is_set():
            batch = [Task(NOOP, id=uuid4().hex) for _ in range(8)]
            assert tasks.accept(batch, owner) == set()
            accepted.extend(task.id for task in batch)

    with ThreadPoolExecutor(4) as workers:
        futures = [workers.submit(accept) for _ in range(4)]
        for _ in range(2):
            before = len(accepted)
            until(partial(_has_grown, accepted, before + 200), "tasks are accepted")
            mariadb.restart()
        stop.set()
        for future in futures:
            future.result()
    loaded = [stored.task.id for page in tasks.load_waiting("s-1") for stored in page]
    assert sorted(loaded) == sorted(accepted)


@pytest.mark.usefixtures("accounts")
def test_deadlock_is_retried(mariadb: MariaDb) -> None:
    """Of two transactions that wait for each other the database ends one: it is executed again."""
    database = mariadb.open()
    both_have_one = threading.Barrier(2)
    attempts = []

    def lock(connection: Connection, first: str, second: str) -> None:
        attempts.append(first)
        for step, cpf in enumerate((first, second)):
            connection.execute(select(schema.users).where(schema.users.c.cpf == cpf).with_for_update())
            if step == 0 and len(attempts) <= 2:
                both_have_one.wait(TIMEOUT_S)

    with ThreadPoolExecutor(2) as workers:
        orders = [(CPFS[0], CPFS[1]), (CPFS[1], CPFS[0])]
        futures = [workers.submit(database.write, lambda c, order=order: lock(c, *order)) for order in orders]
        for future in futures:
            future.result(TIMEOUT_S)
    assert len(attempts) == 3
    assert database.retries == 1


@pytest.mark.usefixtures("accounts")
def test_lock_wait_timeout_is_retried_until_the_deadline(mariadb: MariaDb) -> None:
    """A row that stays locked is DatabaseUnavailable in the end, with the reason of the database."""
    update = Task(UPDATE, CPFS[0], Decimal(1), uuid4().hex)
    blocker, database = mariadb.open(), mariadb.open(timeout_s=3)
    blocked = AccountStore(database)
    with blocker.engine.begin() as connection:
        connection.execute(select(schema.contas).with_for_update())
        with pytest.raises(DatabaseUnavailable, match="Lock wait timeout"):
            blocked.apply_updates([update], "w")
    assert database.retries > 0
    assert blocked.apply_updates([update], "w")[0].ok


@pytest.mark.usefixtures("accounts")
def test_killed_connection_is_replaced(mariadb: MariaDb) -> None:
    """A connection that an administrator ends costs an attempt."""
    database = mariadb.open()
    store = AccountStore(database)
    store.query_balances(CPFS)
    number = database.read(lambda connection: connection.scalar(text("SELECT CONNECTION_ID()")))
    mariadb.open().write(lambda connection: connection.execute(text(f"KILL {number}")))
    assert len(store.query_balances(CPFS)) == len(CPFS)
    assert database.retries == 1


def test_database_that_is_away(mariadb: MariaDb) -> None:
    """It is unavailable after the deadline, at once for a store that is closed, and used when it is back."""
    mariadb.kill()
    database = mariadb.open(timeout_s=1)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="unavailable"):
        AccountStore(database).query_balances(CPFS)
    assert 0.4 < time.monotonic() - began < 20
    patient = mariadb.open(timeout_s=600)
    with ThreadPoolExecutor(1) as worker:
        future = worker.submit(AccountStore(patient).query_balances, CPFS)
        until(lambda: patient.retries > 0, "an attempt has failed")
        patient.close()
        with pytest.raises(DatabaseUnavailable):
            future.result(TIMEOUT_S)
    mariadb.start()
    AccountStore(database).query_balances(CPFS)


def test_connection_is_encrypted_and_verified(mariadb: MariaDb, tmp_path: Path) -> None:
    """The client uses TLS 1.3, and rejects another CA and another name than that of the certificate."""
    cipher = mariadb.open().read(lambda c: c.execute(text("SHOW STATUS LIKE 'Ssl_version'")).one()[1])
    assert cipher == "TLSv1.3"
    for config in (mariadb.config(ca_file=certificate(tmp_path, "other").file), mariadb.config(host="localhost")):
        database = open_database(config, tmp_path)
        with pytest.raises(DatabaseRejects, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            AccountStore(database).query_balances(CPFS)
        assert database.retries == 0


def test_wrong_password_and_unknown_database_are_not_retried(mariadb: MariaDb, tmp_path: Path) -> None:
    """What only an administrator can repair is reported at once; a corrected password file is read again."""
    (tmp_path / "password").write_text("wrong", encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    config = DatabaseConfig(mariadb.config().database, tmp_path / "password", mariadb.ca_file)
    database = open_database(config, tmp_path)
    with pytest.raises(DatabaseRejects, match="Access denied"):
        AccountStore(database).query_balances(CPFS)
    (tmp_path / "password").write_text("frota\n", encoding="utf-8")
    assert AccountStore(database).query_balances(CPFS) == {}
    with pytest.raises(DatabaseRejects, match="Unknown database"):
        AccountStore(open_database(mariadb.config(name="nothing"), tmp_path)).query_balances(CPFS)


# What the role gives to the users of the database: a server, and a worker, which needs no tasks.
_ACCOUNTS = {
    "users": "SELECT",
    "contas": "SELECT, UPDATE (saldo, updated_at)",
    "balance_history": "SELECT, INSERT",
    "alembic_version": "SELECT",
}
_RIGHTS = {
    "worker": _ACCOUNTS,
    "server": _ACCOUNTS | {"tasks": "SELECT, INSERT, UPDATE, DELETE", "servers": "SELECT, INSERT, UPDATE"},
}


@pytest.mark.parametrize("user", ["worker", "server"])
@pytest.mark.usefixtures("accounts")
def test_least_rights_suffice(mariadb: MariaDb, user: str) -> None:
    """A server and a worker do their work with these rights, and only over TLS; nobody can change the history."""
    grants = [f"GRANT {rights} ON frota.{table} TO {user}@'127.0.0.1'" for table, rights in _RIGHTS[user].items()]
    creation = f"CREATE OR REPLACE USER {user}@'127.0.0.1' IDENTIFIED BY 'frota' REQUIRE SSL"
    mariadb.open().write(lambda connection: [connection.execute(text(sql)) for sql in (creation, *grants)])
    config = mariadb.config()
    database = open_database(replace(config, database=config.database.replace("frota@", f"{user}@")), Path())
    revision.check(database)
    store = AccountStore(database)
    assert store.apply_updates([Task(UPDATE, CPFS[0], Decimal(1), uuid4().hex)], user)[0].ok
    assert (store.query_balances(CPFS)[CPFS[0]], store.audit()) == (Decimal(1), [])
    for forbidden in ("DELETE FROM balance_history", "UPDATE balance_history SET worker = ''", "DROP TABLE users"):
        with pytest.raises(DatabaseRejects, match="command denied"):
            database.write(lambda connection, sql=forbidden: connection.execute(text(sql)))  # type: ignore[misc]
    if user == "server":
        tasks, owner = TaskStore(database), ServerStore(database).register("s-1")
        task = Task(NOOP, id=uuid4().hex)
        tasks.accept([task], owner)
        tasks.fail([Failure(task.id, 5, "bad", dead=True)], owner)
        assert [stored.task.id for stored in tasks.retry([task.id], owner)] == [task.id]
        assert tasks.finish([Report(True, task.id)]) == 1
        assert tasks.expire_results(datetime.now(UTC) + timedelta(days=1)) == 1


def test_errors_do_not_show_parameters(mariadb: MariaDb) -> None:
    """What is logged of an error has no names, CPFs and balances."""
    database: Database = mariadb.open()
    tasks, owner = TaskStore(database), ServerStore(database).register("s-1")
    with pytest.raises(Exception, match="Data too long") as caught:
        tasks.accept([Task(NOOP, "secret" * 20, id="0" * 32)], owner)
    assert "secretsecret" not in str(caught.value)


def _are_done(futures: list[Future[list[Report]]], count: float) -> bool:
    return sum(future.done() for future in futures) > count


def _has_grown(accepted: list[str], size: int) -> bool:
    return len(accepted) > size
