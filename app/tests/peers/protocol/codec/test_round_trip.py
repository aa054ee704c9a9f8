"""Any message of any row of the table survives encoding and decoding."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from frota.peers.protocol.codec import dialects
from frota.peers.protocol.codec.dialects import Dialect, Row, decode, encode
from frota.peers.protocol.framing import Frame, parse
from frota.peers.protocol.messages import (
    KINDS,
    MAX_ERROR_CHARACTERS,
    NOOP,
    QUERY,
    STATES,
    UPDATE,
    Address,
    BalanceChange,
    DeadTask,
    Load,
    Message,
    Rejection,
    Report,
    Reports,
    Result,
    Task,
    Tasks,
)
from frota.peers.protocol.money import MAX_BALANCE
from frota.peers.protocol.requests import DeadTasks, Submit, Submitted


def builds(kind: Callable[..., Any], /, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects with these values; st.builds would draw the values that have a default, too."""
    return st.fixed_dictionaries(values).map(lambda drawn: kind(**drawn))


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=5).map(tuple)


ids = st.uuids(version=4).map(lambda uuid: uuid.hex)
counts = st.integers(0, 2**53)
names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=64)
cpfs = st.text("0123456789", min_size=11, max_size=11)
users = cpfs | st.text(st.characters(categories=["L"]), min_size=1, max_size=50)
errors = st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_ERROR_CHARACTERS)
balances = st.decimals(-MAX_BALANCE, MAX_BALANCE, places=2).map(lambda value: value + 0)
addresses = st.builds(Address, st.sampled_from(["10.0.0.1", "::1", "peer-1.example"]), st.integers(1, 65535))
seconds = st.floats(0, 86400)


def tasks(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Task]:
    """Return tasks of all kinds with these ids and traces; `trace` is empty where it is the same as `id`."""
    kinds = (
        builds(Task, kind=st.just(QUERY), account=users, **values),
        builds(Task, kind=st.just(UPDATE), account=cpfs, balance=balances, **values),
        builds(Task, kind=st.just(NOOP), **values),
    )
    return st.one_of(kinds).map(lambda task: task._replace(trace="" if task.trace == task.id else task.trace))


good, bad = st.just(True), st.just(False)
leased = tasks(id=ids, trace=st.just("") | ids)
native_reports = builds(Report, ok=good, id=ids, balance=st.none() | balances) | builds(
    Report, ok=bad, id=ids, error=errors, retry=st.booleans()
)
results = builds(Result, id=ids, state=st.sampled_from(STATES), ok=good, balance=st.none() | balances) | builds(
    Result, id=ids, state=st.sampled_from(STATES), error=errors, attempts=counts
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("worker", "owner", "server", "loan"), names),
    **dict.fromkeys(("epoch", "id"), counts),
    **dict.fromkeys(("capacity", "needed", "limit"), st.integers(1, 1000)),
    **dict.fromkeys(("holds", "returned", "task_ids"), tuples(ids)),
    **dict.fromkeys(("lease_s", "term_s", "wait_s"), seconds),
    **dict.fromkeys(("target", "home", "address"), addresses),
    "workers": tuples(names),
    "failover": tuples(addresses),
    "load": st.builds(Load, *[counts] * 6),
    "after": ids,
    "cpf": cpfs,
    "trace": ids,
    "reason": errors,
    "status": st.dictionaries(st.text(max_size=5), counts, max_size=3),
    "reports": tuples(native_reports),
    "results": tuples(results),
    "changes": tuples(st.builds(BalanceChange, ids, balances, counts)),
}
TASKS_OF: dict[Any, st.SearchStrategy[Any]] = {
    Tasks: leased,
    DeadTasks: builds(DeadTask, task=leased, error=errors, attempts=counts, at_ms=counts),
    Submit: tasks(id=st.just("") | ids, trace=st.just("") | ids),
    Submitted: ids | st.builds(Rejection, errors),
}


def of_row(row: Row, dialect: Dialect) -> st.SearchStrategy[tuple[Message, Dialect]]:
    """Return messages of a row, with the attributes that the dialect carries."""
    values = {}
    for _, field in row.fields:
        if field.native and dialect is not Dialect.NATIVE:
            continue
        value = VALUES[field.attribute] if field.attribute in VALUES else tuples(TASKS_OF[row.kind])
        default = row.kind.__dataclass_fields__[field.attribute].default  # type: ignore[attr-defined]  # all have them
        values[field.attribute] = value | st.just(default) if field.optional else value
    return builds(row.kind, **values).map(lambda message: (message, dialect))


def single_reports(dialect: Dialect) -> st.SearchStrategy[tuple[Message, Dialect]]:
    """Return the reports of a legacy dialect, with what it carries."""
    says: dict[str, st.SearchStrategy[Any]] = {"account": users} if dialect is Dialect.B else {}
    kinds = {"kind": st.sampled_from(KINDS)}
    of_good = kinds if dialect is Dialect.C else {"balance": st.none() | balances}
    reports = builds(Report, ok=good, **says, **of_good) | builds(Report, ok=bad, error=errors, **says, **kinds)
    worker = st.just("") if dialect is Dialect.A else names
    return builds(Reports, reports=st.tuples(reports), worker=worker).map(lambda message: (message, dialect))


LEGACY = (Dialect.A, Dialect.B, Dialect.C)
legacy_tasks = st.tuples(builds(Tasks, tasks=st.tuples(tasks())), st.sampled_from(LEGACY))
messages = st.one_of(
    *[of_row(row, Dialect(dialect)) for (_, dialect), row in dialects._ROWS.items()],
    *[single_reports(dialect) for dialect in LEGACY],
    legacy_tasks,
)


@settings(max_examples=300)
@given(messages)
def test_round_trip(pair: tuple[Message, Dialect]) -> None:
    """A message is the same after encoding and decoding, and its dialect is one that was recognised."""
    message, dialect = pair
    text = encode(message, dialect)
    decoded = decode(Frame(text, parse(text)))
    assert decoded.message == message
    assert type(decoded.message) is type(message)
    assert dialect in decoded.dialects or (dialect is Dialect.NATIVE and "A" in decoded.dialects)
