"""The tasks in the database; each test on SQLite and on MariaDB."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from frota.peers.database import schema
from frota.peers.database.bulk import MAX_ROWS
from frota.peers.database.database import Database
from frota.peers.database.errors import Superseded
from frota.peers.database.servers import Owner, ServerStore
from frota.peers.database.tasks import Batch, Lease, TaskStore
from frota.peers.protocol.messages import (
    DEAD,
    DONE,
    LEASED,
    NOOP,
    QUERY,
    UNKNOWN,
    UPDATE,
    WAITING,
    Report,
    Result,
    Task,
)
from frota.peers.stored_tasks import Failure, StoredTask

CPF = "11111111111"


def a_task(kind: str = NOOP, account: str = "", balance: str | None = None, trace: str = "") -> Task:
    task_id = uuid4().hex
    return Task(kind, account, balance and Decimal(balance), task_id, trace or task_id)  # type: ignore[arg-type]


def waiting(tasks: TaskStore, server: str, page: int = 1000) -> list[StoredTask]:
    return [stored for part in tasks.load_waiting(server, page) for stored in part]


def ids(stored: list[StoredTask]) -> set[str]:
    return {entry.task.id for entry in stored}


@pytest.fixture
def owner(servers: ServerStore) -> Owner:
    """Register a server."""
    return servers.register("s-1")


def test_accepted_task_is_loaded_as_it_was(tasks: TaskStore, owner: Owner) -> None:
    """Every field of a task survives, with decimal money and any name."""
    new = [
        a_task(QUERY, "Ana'; DROP TABLE tasks; -- Ç 🚀 \\ %s"),
        a_task(UPDATE, CPF, "-9999999999.99", trace="ab" * 16),
        a_task(),
    ]
    assert tasks.accept(new, owner) == set()
    stored = waiting(tasks, "s-1")
    assert sorted(entry.task for entry in stored) == sorted(new)
    assert {(entry.attempts, entry.holder) for entry in stored} == {(0, "")}


def test_waiting_tasks_are_loaded_in_order_and_in_pages(tasks: TaskStore, owner: Owner) -> None:
    """Pages give each task once, the oldest first."""
    batches = [[a_task() for _ in range(7)] for _ in range(5)]
    for batch in batches:
        tasks.accept(batch, owner)
    pages = list(tasks.load_waiting("s-1", page=4))
    assert [len(page) for page in pages] == [4] * 8 + [3]
    loaded = [stored.task.id for page in pages for stored in page]
    assert loaded == [task_id for batch in batches for task_id in sorted(task.id for task in batch)]


def test_task_is_accepted_once(tasks: TaskStore, servers: ServerStore, owner: Owner) -> None:
    """An id that another request has brought is reported, and the task stays with the server that accepted it."""
    first, second = a_task(), a_task()
    other = servers.register("s-2")
    assert tasks.accept([first, first], owner) == set()
    assert tasks.accept([first, second], other) == {first.id}
    assert tasks.accept([first, second], owner) == {first.id, second.id}
    assert ids(waiting(tasks, "s-1")) == {first.id}
    assert ids(waiting(tasks, "s-2")) == {second.id}


def test_accepting_again_after_an_unknown_commit(
    tasks: TaskStore, owner: Owner, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch whose COMMIT took place, but not its confirmation, counts as accepted by this call."""
    write = database.write

    def commit_twice(work):  # type: ignore[no-untyped-def]
        write(work)
        return write(work)

    monkeypatch.setattr(database, "write", commit_twice)
    new = [a_task() for _ in range(3)]
    assert tasks.accept(new, owner) == set()
    assert ids(waiting(tasks, "s-1")) == {task.id for task in new}


def test_error_that_no_id_explains_is_raised(tasks: TaskStore, owner: Owner) -> None:
    """A row that violates another constraint is an error, not an endless loop."""
    with pytest.raises(IntegrityError):
        tasks.accept([a_task()._replace(account=None)], owner)  # type: ignore[arg-type]


def test_results_of_all_kinds(tasks: TaskStore, owner: Owner) -> None:
    """A result has the balance read or set, or the reason; unknown and waiting tasks say so."""
    noop, query, change, bad, left = new = [
        a_task(),
        a_task(QUERY, CPF),
        a_task(UPDATE, CPF, "7.10"),
        a_task(),
        a_task(),
    ]
    tasks.accept(new, owner)
    reports = [
        Report(True, noop.id),
        Report(True, query.id, Decimal("99.99")),
        Report(True, change.id),
        Report(False, bad.id, error="x" * 600),
        Report(True, "0" * 32),
    ]
    assert tasks.finish(reports) == 4
    assert tasks.results([noop.id, query.id, change.id, bad.id, left.id, "0" * 32]) == [
        Result(noop.id, DONE, True),
        Result(query.id, DONE, True, Decimal("99.99")),
        Result(change.id, DONE, True, Decimal("7.10")),
        Result(bad.id, DONE, False, None, "x" * 500),
        Result(left.id, WAITING),
        Result("0" * 32, UNKNOWN),
    ]
    assert ids(waiting(tasks, "s-1")) == {left.id}


def test_first_result_counts(tasks: TaskStore, owner: Owner) -> None:
    """Neither a second report, nor one in the same batch, nor a failure changes a result."""
    task = a_task(QUERY, CPF)
    tasks.accept([task], owner)
    assert tasks.finish([Report(True, task.id, Decimal(1)), Report(False, task.id, error="no")]) == 1
    assert tasks.finish([Report(True, task.id, Decimal(2)), Report(False, task.id, error="no")]) == 0
    tasks.fail([Failure(task.id, 5, "late", dead=True)], owner)
    tasks.hand_out([Lease(task.id, "w", datetime.now(UTC))], owner)
    assert tasks.results([task.id]) == [Result(task.id, DONE, True, Decimal("1.00"))]


@pytest.mark.parametrize("count", [1, 3, MAX_ROWS, MAX_ROWS + 1, 2 * MAX_ROWS + 77])
def test_batches_of_any_size(tasks: TaskStore, owner: Owner, count: int) -> None:
    """Each task of a batch gets its own result, also in batches larger than a statement."""
    new = [a_task(QUERY, CPF) for _ in range(count)]
    tasks.accept(new, owner)
    balances = [Decimal(number).scaleb(-2) for number in range(count)]
    reports = [Report(True, task.id, balance) for task, balance in zip(new, balances, strict=True)]
    assert tasks.finish(reports) == count
    assert [result.balance for result in tasks.results([task.id for task in new])] == balances


def test_lease_is_written_down(tasks: TaskStore, owner: Owner, database: Database) -> None:
    """A leased task says who has it and until when, to the microsecond, and is loaded again after a restart."""
    end = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)
    first, second = a_task(), a_task()
    tasks.accept([first, second], owner)
    tasks.hand_out([Lease(first.id, "w-1", end), Lease(second.id, "w-2", end)], owner)
    columns = schema.tasks.c
    query = select(columns.state, columns.holder, columns.lease_end).where(columns.id == first.id)
    assert database.read(lambda connection: tuple(connection.execute(query).one())) == (LEASED, "w-1", end)
    assert {stored.holder for stored in waiting(tasks, "s-1")} == {"w-1", "w-2"}


def test_failed_task_waits_again_until_it_is_dead(tasks: TaskStore, owner: Owner) -> None:
    """Attempts and the last reason survive; a dead task is in the dead list, and no longer loaded."""
    task = a_task(UPDATE, CPF, "1.00")
    tasks.accept([task], owner)
    tasks.fail([Failure(task.id, 1, "worker left")], owner)
    assert [(stored.attempts, stored.task) for stored in waiting(tasks, "s-1")] == [(1, task)]
    tasks.fail([Failure(task.id, 5, "worker left again", dead=True)], owner)
    assert waiting(tasks, "s-1") == []
    (dead,) = tasks.dead_list()
    assert dead[:3] == (task, "worker left again", 5)
    assert abs(dead.at_ms / 1000 - datetime.now(UTC).timestamp()) < 60
    assert tasks.results([task.id]) == [Result(task.id, DEAD, False, None, "worker left again", 5)]


def test_batch_is_one_transaction(tasks: TaskStore, owner: Owner) -> None:
    """New tasks, leases, failures and results are written together, or not at all."""
    old = [a_task(QUERY, CPF) for _ in range(4)]
    tasks.accept([*old], owner)
    new = [a_task(), old[0], a_task()]
    batch = Batch(
        new,
        [Lease(old[0].id, "w-1", datetime.now(UTC)), Lease(new[0].id, "w-2", datetime.now(UTC))],
        [Failure(old[1].id, 1, "left"), Failure(old[2].id, 5, "bad", dead=True)],
        [Report(True, old[3].id, Decimal("1.10")), Report(True, new[0].id)],
    )
    with pytest.raises(Superseded):
        tasks.write(batch, owner._replace(epoch=owner.epoch + 1))
    assert ids(waiting(tasks, "s-1")) == {task.id for task in old}
    assert tasks.write(batch, owner) == {old[0].id}
    states = [result.state for result in tasks.results([task.id for task in [*old, new[0], new[2]]])]
    assert states == [LEASED, WAITING, DEAD, DONE, DONE, WAITING]
    assert tasks.results([old[3].id])[0].balance == Decimal("1.10")


def test_dead_list_in_pages(tasks: TaskStore, owner: Owner) -> None:
    """Pages give each dead task once, the oldest first."""
    new = [a_task() for _ in range(5)]
    tasks.accept(new, owner)
    for task in new:
        tasks.fail([Failure(task.id, 5, "bad", dead=True)], owner)
    first = tasks.dead_list(limit=3)
    rest = tasks.dead_list(limit=3, after=first[-1].task.id)
    assert [entry.task.id for entry in [*first, *rest]] == [task.id for task in new]


def test_dead_tasks_are_retried_by_any_server(tasks: TaskStore, servers: ServerStore, owner: Owner) -> None:
    """A retried task waits at the server that retried it, with all attempts; others are not touched."""
    dead, alive = a_task(), a_task()
    other = servers.register("s-2")
    tasks.accept([dead, alive], owner)
    tasks.fail([Failure(dead.id, 5, "bad", dead=True)], owner)
    (retried,) = tasks.retry([dead.id, alive.id, "0" * 32], other)
    assert (retried.task, retried.attempts) == (dead, 0)
    assert waiting(tasks, "s-2") == [retried]
    assert tasks.retry([dead.id], other) == []
    assert tasks.dead_list() == []


def test_dead_tasks_are_dropped(tasks: TaskStore, owner: Owner) -> None:
    """Only dead tasks can be dropped."""
    dead, alive = a_task(), a_task()
    tasks.accept([dead, alive], owner)
    tasks.fail([Failure(dead.id, 5, "bad", dead=True)], owner)
    assert tasks.drop([dead.id, alive.id]) == [dead.id]
    assert [result.state for result in tasks.results([dead.id, alive.id])] == [UNKNOWN, WAITING]


def test_old_results_expire(tasks: TaskStore, owner: Owner) -> None:
    """Only results that are older than the given time are deleted, at most so many at once."""
    new = [a_task() for _ in range(5)]
    tasks.accept(new, owner)
    tasks.finish([Report(True, task.id) for task in new[:3]])
    assert tasks.expire_results(datetime.now(UTC) - timedelta(hours=1)) == 0
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert [tasks.expire_results(later, limit=2) for _ in range(3)] == [2, 1, 0]
    assert ids(waiting(tasks, "s-1")) == {task.id for task in new[3:]}


def vanish(database: Database, server: str) -> None:
    """Make a server unseen for an hour."""
    gone = update(schema.servers).where(schema.servers.c.id == server)
    database.write(lambda c: c.execute(gone.values(seen_at=datetime.now(UTC) - timedelta(hours=1))))


def test_tasks_of_a_gone_server_are_taken_over(
    tasks: TaskStore, servers: ServerStore, owner: Owner, database: Database
) -> None:
    """Its waiting and leased tasks move, page by page; its results stay; its further writes fail."""
    new = [a_task() for _ in range(5)]
    tasks.accept(new, owner)
    tasks.finish([Report(True, new[0].id)])
    tasks.hand_out([Lease(new[1].id, "w", datetime.now(UTC))], owner)
    heir = servers.register("s-2")
    assert tasks.find_gone(60) == []
    assert tasks.take_over("s-1", heir, 60) == []
    vanish(database, "s-1")
    assert tasks.find_gone(60) == ["s-1"]
    pages = [tasks.take_over("s-1", heir, 60, page=3) for _ in range(3)]
    assert [len(page) for page in pages] == [3, 1, 0]
    assert ids([stored for page in pages for stored in page]) == ids(waiting(tasks, "s-2")) == {t.id for t in new[1:]}
    assert tasks.find_gone(60) == []
    for write in (
        lambda: servers.heartbeat(owner),
        lambda: tasks.accept([a_task()], owner),
        lambda: tasks.fail([Failure(new[1].id, 1, "x")], owner),
        lambda: tasks.hand_out([Lease(new[1].id, "w", datetime.now(UTC))], owner),
        lambda: tasks.retry([new[1].id], owner),
    ):
        with pytest.raises(Superseded, match="s-1"):
            write()
    again = servers.register("s-1")
    assert again.epoch > owner.epoch
    assert tasks.accept([a_task()], again) == set()


def test_heartbeats_prevent_a_take_over(
    tasks: TaskStore, servers: ServerStore, owner: Owner, database: Database
) -> None:
    """A server that is seen again keeps its tasks."""
    tasks.accept([a_task()], owner)
    heir = servers.register("s-2")
    vanish(database, "s-1")
    servers.heartbeat(owner)
    assert tasks.take_over("s-1", heir, 60) == []
    assert len(waiting(tasks, "s-1")) == 1


def test_restart_supersedes_the_former_process(tasks: TaskStore, servers: ServerStore, owner: Owner) -> None:
    """Of two processes with one id only the later one can write."""
    servers.register("s-1")
    with pytest.raises(Superseded):
        tasks.accept([a_task()], owner)


def test_several_peers_share_what_they_take_over(
    tasks: TaskStore, servers: ServerStore, owner: Owner, database: Database
) -> None:
    """Each task of a gone server moves to exactly one of those who take over at the same time."""
    new = [a_task() for _ in range(200)]
    tasks.accept(new, owner)
    heirs = [servers.register(f"heir-{number}") for number in range(4)]
    vanish(database, "s-1")
    moved: dict[str, list[str]] = {heir.server: [] for heir in heirs}

    def take(heir: Owner) -> None:
        while page := tasks.take_over("s-1", heir, 60, page=10):
            moved[heir.server] += [stored.task.id for stored in page]

    threads = [threading.Thread(target=take, args=[heir]) for heir in heirs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(task_id for part in moved.values() for task_id in part) == sorted(task.id for task in new)
    for heir in heirs:
        assert ids(waiting(tasks, heir.server)) == set(moved[heir.server])


def test_simultaneous_first_registrations(servers: ServerStore) -> None:
    """Processes that register a new id at the same time get different epochs."""
    found: list[Owner] = []
    threads = [threading.Thread(target=lambda: found.append(servers.register("new"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(owner.epoch for owner in found) == [1, 2, 3, 4, 5, 6]


def test_columns_reject_what_would_not_be_exact(database: Database) -> None:
    """Money with a third decimal place, and a time without a zone, are programming errors."""
    user = {"id": "x", "epoch": 1}
    with pytest.raises(Exception, match="time zone"):
        database.write(lambda c: c.execute(insert(schema.servers).values(user | {"seen_at": datetime(2026, 1, 1)})))  # noqa: DTZ001 -- that is the point
    with pytest.raises(Exception, match="more than 2 decimal places"):
        database.write(lambda c: c.execute(update(schema.contas).values(saldo=Decimal("1.001"))))
