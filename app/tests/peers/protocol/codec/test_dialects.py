"""The dialects: each message byte for byte, and from JSON to messages and back."""

import json
from decimal import Decimal

import pytest

from frota.peers.protocol.codec import dialects
from frota.peers.protocol.codec.dialects import Dialect, Misuse, decode, encode
from frota.peers.protocol.framing import Frame, parse
from frota.peers.protocol.messages import (
    Address,
    BalanceChange,
    DeadTask,
    Heartbeat,
    HeartbeatReply,
    Load,
    LoanEnded,
    LoanRenew,
    LoanRenewed,
    Message,
    NoTask,
    Redirect,
    Refusal,
    Rejection,
    Release,
    ReleaseAck,
    ReleaseCompleted,
    Report,
    ReportAck,
    Reports,
    Result,
    Return,
    Task,
    Tasks,
    Welcome,
    WorkerAlive,
    WorkerLeaving,
    WorkerRequest,
    WorkersDenied,
    WorkersGranted,
)
from frota.peers.protocol.requests import (
    DeadTasks,
    GetDead,
    GetHistory,
    GetResults,
    GetStatus,
    History,
    RequestFailed,
    Results,
    RetryDead,
    Status,
    Submit,
    Submitted,
)

A, B, C, N = Dialect.A, Dialect.B, Dialect.C, Dialect.NATIVE
HOME, TARGET, SPARE = Address("10.0.0.1", 8765), Address("10.0.0.2", 8766), Address("::1", 8767)
ID, OTHER_ID = "0123456789abcdef" * 2, "fedcba9876543210" * 2
BALANCE = Decimal("99.99")

# The legacy programs' messages, byte for byte.
LEGACY = [
    # Dialect A
    (A, WorkerAlive(), '{"WORKER": "ALIVE"}'),
    (A, WorkerAlive("w-1"), '{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}'),
    (A, Tasks((Task("QUERY", "Ana"),)), '{"TASK": "QUERY", "USER": "Ana"}'),
    (A, Tasks((Task("UPDATE", "11111111111", BALANCE),)), '{"TASK": "UPDATE", "CPF": "11111111111", "SALDO": 99.99}'),
    (A, Reports((Report(True, balance=BALANCE),)), '{"STATUS": "OK", "SALDO": 99.99}'),
    (
        A,
        Reports((Report(False, error="User not found", kind="QUERY"),)),
        '{"STATUS": "NOK", "TASK": "QUERY", "ERROR": "User not found"}',
    ),
    (
        A,
        Redirect(TARGET, HOME, (HOME, SPARE)),
        (
            '{"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "10.0.0.2", "PORT": 8766}, '
            '"HOME_MASTER": {"IP": "10.0.0.1", "PORT": 8765}, '
            '"FAILOVER_LIST": [{"IP": "10.0.0.1", "PORT": 8765}, {"IP": "::1", "PORT": 8767}]}'
        ),
    ),
    (A, Heartbeat(), '{"SERVER": "ALIVE", "TASK": "REQUEST"}'),
    (A, HeartbeatReply(), '{"SERVER": "ALIVE", "TASK": "RECIEVE"}'),
    (A, WorkerRequest(5), '{"TASK": "WORKER_REQUEST", "WORKERS_NEEDED": 5}'),
    (
        A,
        WorkersGranted("s-1", ("w-1", "w-2")),
        (
            '{"TASK": "WORKER_RESPONSE", "STATUS": "ACK", "MASTER": "s-1", '
            '"WORKERS": [{"WORKER_UUID": "w-1"}, {"WORKER_UUID": "w-2"}]}'
        ),
    ),
    (A, WorkersDenied(), '{"TASK": "WORKER_RESPONSE", "STATUS": "NACK", "WORKERS": []}'),
    # Dialect B
    (B, WorkerAlive("w-1"), '{"WORKER": "ALIVE", "WORKER_ID": "w-1"}'),
    (B, Tasks((Task("QUERY", "João"),)), '{"TASK": "QUERY", "USER": "João"}'),
    (
        B,
        Reports((Report(True, balance=Decimal("512.00"), account="Ana"),), "w-1"),
        '{"STATUS": "OK", "SALDO": 512.00, "USER": "Ana", "WORKER_ID": "w-1"}',
    ),
    (
        B,
        Reports((Report(False, error="User not found", kind="QUERY", account="Ana"),), "w-1"),
        '{"STATUS": "NOK", "TASK": "QUERY", "ERROR": "User not found", "USER": "Ana", "WORKER_ID": "w-1"}',
    ),
    (B, Redirect(TARGET), '{"TASK": "REDIRECT", "MASTER_REDIRECT": ["10.0.0.2", 8766]}'),
    (B, Heartbeat("s-1"), '{"SERVER_ID": "s-1", "TASK": "HEARTBEAT"}'),
    (B, HeartbeatReply("s-1"), '{"SERVER_ID": "s-1", "TASK": "HEARTBEAT", "RESPONSE": "ALIVE"}'),
    (B, WorkerRequest(server="s-1"), '{"MASTER": "s-1", "TASK": "WORKER_REQUEST"}'),
    (B, WorkersGranted("s-1", ("w-1",)), '{"MASTER": "s-1", "RESPONSE": "AVAILABLE", "WORKERS": [{"id": "w-1"}]}'),
    (B, WorkersDenied("s-1"), '{"MASTER": "s-1", "RESPONSE": "UNAVAILABLE", "WORKERS": []}'),
    # Dialect C
    (C, WorkerAlive("w-1"), '{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}'),
    (C, WorkerAlive("w-1", owner="s-2"), '{"WORKER": "ALIVE", "WORKER_UUID": "w-1", "SERVER_UUID": "s-2"}'),
    (C, Tasks((Task("QUERY", "Ana"),)), '{"TASK": "QUERY", "USER": "Ana"}'),
    (C, NoTask(), '{"TASK": "NO_TASK"}'),
    (C, Redirect(TARGET), '{"TASK": "REDIRECT", "SERVER_REDIRECT": {"ip": "10.0.0.2", "port": 8766}}'),
    (C, Return(HOME), '{"TASK": "RETURN", "SERVER_RETURN": {"ip": "10.0.0.1", "port": 8765}}'),
    (C, Reports((Report(True, kind="QUERY"),), "w-1"), '{"STATUS": "OK", "TASK": "QUERY", "WORKER_UUID": "w-1"}'),
    (
        C,
        Reports((Report(False, error="User not found", kind="QUERY"),), "w-1"),
        '{"STATUS": "NOK", "TASK": "QUERY", "ERROR": "User not found", "WORKER_UUID": "w-1"}',
    ),
    (C, ReportAck(), '{"STATUS": "ACK"}'),
    (C, Heartbeat("s-1"), '{"SERVER_UUID": "s-1", "TASK": "HEARTBEAT"}'),
    (C, HeartbeatReply("s-1"), '{"SERVER_UUID": "s-1", "TASK": "HEARTBEAT", "RESPONSE": "ALIVE"}'),
    (
        C,
        WorkerRequest(address=TARGET),
        '{"TASK": "WORKER_REQUEST", "REQUESTOR_INFO": {"ip": "10.0.0.2", "port": 8766}}',
    ),
    (
        C,
        WorkersGranted("s-1", ("w-1", "w-2")),
        '{"SERVER_UUID": "s-1", "RESPONSE": "AVAILABLE", "WORKERS_UUID": ["w-1", "w-2"]}',
    ),
    (C, WorkersDenied("s-1"), '{"SERVER_UUID": "s-1", "RESPONSE": "UNAVAILABLE", "WORKERS_UUID": []}'),
    (C, Release("s-1", ("w-1",)), '{"SERVER_UUID": "s-1", "TASK": "COMMAND_RELEASE", "WORKERS_UUID": ["w-1"]}'),
    (C, ReleaseAck("s-1", ("w-1",)), '{"SERVER_UUID": "s-1", "RESPONSE": "RELEASE_ACK", "WORKERS_UUID": ["w-1"]}'),
    (
        C,
        ReleaseCompleted("s-1", ("w-1",)),
        '{"SERVER_UUID": "s-1", "RESPONSE": "RELEASE_COMPLETED", "WORKERS_UUID": ["w-1"]}',
    ),
    *[(dialect, Refusal("why"), '{"STATUS": "NOK", "ERROR": "why"}') for dialect in (A, B, C)],
]

NATIVE = [
    (WorkerAlive("w-1", 64), '{"WORKER":"ALIVE","WORKER_UUID":"w-1","CAPACITY":64}'),
    (
        WorkerAlive("w-1", 64, "s-2", "l-1", 3, (ID,)),
        (
            f'{{"WORKER":"ALIVE","WORKER_UUID":"w-1","CAPACITY":64,"SERVER_UUID":"s-2","LOAN":"l-1","EPOCH":3,'
            f'"TASK_IDS":["{ID}"]}}'
        ),
    ),
    (WorkerAlive("w-1", 64, holds=()), '{"WORKER":"ALIVE","WORKER_UUID":"w-1","CAPACITY":64,"TASK_IDS":[]}'),
    (WorkerLeaving("w-1", (ID,)), f'{{"WORKER":"LEAVING","WORKER_UUID":"w-1","TASK_IDS":["{ID}"]}}'),
    (Welcome("s-1", 30.0), '{"SERVER":"ALIVE","TASK":"WELCOME","SERVER_UUID":"s-1","LEASE_S":30.0}'),
    (
        Tasks((Task("QUERY", "Ana", None, ID), Task("UPDATE", "11111111111", BALANCE, OTHER_ID)), 30.0),
        (
            f'{{"TASK":"BATCH","LEASE_S":30.0,"TASKS":[{{"TASK":"QUERY","TASK_ID":"{ID}","USER":"Ana"}},'
            f'{{"TASK":"UPDATE","TASK_ID":"{OTHER_ID}","CPF":"11111111111","SALDO":"99.99"}}]}}'
        ),
    ),
    (
        Tasks((Task("NOOP", id=ID, trace=OTHER_ID),), 30.0),
        (
            f'{{"TASK":"BATCH","LEASE_S":30.0,"TASKS":[{{"TASK":"NOOP","TASK_ID":"{ID}",'
            f'"TRACEPARENT":"00-{OTHER_ID}-{ID[16:]}-01"}}]}}'
        ),
    ),
    (
        Reports((Report(True, ID, BALANCE), Report(True, OTHER_ID), Report(False, ID, error="busy", retry=True))),
        (
            f'{{"STATUS":"BATCH","REPORTS":[{{"STATUS":"OK","TASK_ID":"{ID}","SALDO":"99.99"}},'
            f'{{"STATUS":"OK","TASK_ID":"{OTHER_ID}"}},'
            f'{{"STATUS":"NOK","TASK_ID":"{ID}","ERROR":"busy","RETRY":true}}]}}'
        ),
    ),
    (
        Redirect(TARGET, HOME, (), "s-2", "l-1", 3, 60.0),
        (
            '{"TASK":"REDIRECT","TARGET_MASTER":{"IP":"10.0.0.2","PORT":8766},'
            '"HOME_MASTER":{"IP":"10.0.0.1","PORT":8765},"FAILOVER_LIST":[],'
            '"SERVER_UUID":"s-2","LOAN":"l-1","EPOCH":3,"TERM_S":60.0}'
        ),
    ),
    (
        Return(HOME, "l-1", 3),
        '{"TASK":"RETURN","HOME_MASTER":{"IP":"10.0.0.1","PORT":8765},"LOAN":"l-1","EPOCH":3}',
    ),
    (
        Heartbeat("s-1", Load(10, 250, 4, 1, 0, 2)),
        (
            '{"SERVER":"ALIVE","TASK":"REQUEST","SERVER_UUID":"s-1",'
            '"LOAD":{"WAITING":10,"WAIT_MS":250,"WORKERS":4,"IDLE":1,"LENT":0,"BORROWED":2}}'
        ),
    ),
    (HeartbeatReply("s-1"), '{"SERVER":"ALIVE","TASK":"RECIEVE","SERVER_UUID":"s-1"}'),
    (
        WorkerRequest(5, "s-1", HOME, "l-1", 3, 60.0),
        (
            '{"TASK":"WORKER_REQUEST","WORKERS_NEEDED":5,"SERVER_UUID":"s-1",'
            '"TARGET_MASTER":{"IP":"10.0.0.1","PORT":8765},"LOAN":"l-1","EPOCH":3,"TERM_S":60.0}'
        ),
    ),
    (
        WorkersGranted("s-2", ("w-1",), "l-1", 3, 60.0),
        (
            '{"TASK":"WORKER_RESPONSE","STATUS":"ACK","MASTER":"s-2","WORKERS":[{"WORKER_UUID":"w-1"}],'
            '"LOAN":"l-1","EPOCH":3,"TERM_S":60.0}'
        ),
    ),
    (
        WorkersDenied("s-2", "l-1", "saturated"),
        '{"TASK":"WORKER_RESPONSE","STATUS":"NACK","WORKERS":[],"MASTER":"s-2","LOAN":"l-1","ERROR":"saturated"}',
    ),
    (
        LoanRenew("l-1", 3, 60.0, "s-1"),
        '{"TASK":"LOAN_RENEW","SERVER_UUID":"s-1","LOAN":"l-1","EPOCH":3,"TERM_S":60.0}',
    ),
    (LoanRenewed("l-1", 3, 60.0), '{"TASK":"LOAN_RENEW","STATUS":"ACK","LOAN":"l-1","EPOCH":3,"TERM_S":60.0}'),
    (LoanEnded("l-1", 3, "over"), '{"TASK":"LOAN_RENEW","STATUS":"NACK","LOAN":"l-1","EPOCH":3,"ERROR":"over"}'),
    (
        Release("s-1", ("w-1",), "l-1", 3),
        '{"SERVER_UUID":"s-1","TASK":"COMMAND_RELEASE","WORKERS_UUID":["w-1"],"LOAN":"l-1","EPOCH":3}',
    ),
    (
        ReleaseAck("s-1", ("w-1",), "l-1", 3),
        '{"SERVER_UUID":"s-1","RESPONSE":"RELEASE_ACK","WORKERS_UUID":["w-1"],"LOAN":"l-1","EPOCH":3}',
    ),
    (
        ReleaseCompleted("s-1", ("w-1",), "l-1", 3),
        '{"SERVER_UUID":"s-1","RESPONSE":"RELEASE_COMPLETED","WORKERS_UUID":["w-1"],"LOAN":"l-1","EPOCH":3}',
    ),
    (
        Submit(1, (Task("QUERY", "Ana"), Task("UPDATE", "11111111111", BALANCE, ID))),
        (
            '{"REQUEST":"SUBMIT","ID":1,"TASKS":[{"TASK":"QUERY","USER":"Ana"},'
            f'{{"TASK":"UPDATE","TASK_ID":"{ID}","CPF":"11111111111","SALDO":"99.99"}}]}}'
        ),
    ),
    (
        Submitted(1, (ID, Rejection("why"))),
        f'{{"REPLY":"SUBMIT","ID":1,"TASKS":["{ID}",{{"ERROR":"why"}}]}}',
    ),
    (GetResults(2, (ID,), 30.0), f'{{"REQUEST":"RESULT","ID":2,"TASK_IDS":["{ID}"],"WAIT_S":30.0}}'),
    (GetResults(2, (ID,)), f'{{"REQUEST":"RESULT","ID":2,"TASK_IDS":["{ID}"]}}'),
    (
        Results(2, (Result(ID, "DONE", True, BALANCE, "", 1), Result(OTHER_ID, "DEAD", error="why", attempts=5))),
        (
            f'{{"REPLY":"RESULT","ID":2,"RESULTS":[{{"TASK_ID":"{ID}","STATE":"DONE","STATUS":"OK","SALDO":"99.99",'
            f'"ATTEMPTS":1}},{{"TASK_ID":"{OTHER_ID}","STATE":"DEAD","STATUS":"NOK","ERROR":"why","ATTEMPTS":5}}]}}'
        ),
    ),
    (
        Results(2, (Result(ID, "WAITING"),)),
        f'{{"REPLY":"RESULT","ID":2,"RESULTS":[{{"TASK_ID":"{ID}","STATE":"WAITING"}}]}}',
    ),
    (GetStatus(0), '{"REQUEST":"STATUS","ID":0}'),
    (Status(3, {"servers": [{"wait": 1.5}]}), '{"REPLY":"STATUS","ID":3,"STATUS":{"servers":[{"wait":1.5}]}}'),
    (GetDead(4, 100), '{"REQUEST":"DEAD_LIST","ID":4,"LIMIT":100}'),
    (GetDead(4, 100, ID), f'{{"REQUEST":"DEAD_LIST","ID":4,"LIMIT":100,"AFTER":"{ID}"}}'),
    (
        DeadTasks(4, (DeadTask(Task("QUERY", "Ana", None, ID), "why", 5, 1_790_000_000_000),)),
        (
            f'{{"REPLY":"DEAD_LIST","ID":4,"TASKS":[{{"TASK":"QUERY","TASK_ID":"{ID}","USER":"Ana","ERROR":"why",'
            '"ATTEMPTS":5,"AT_MS":1790000000000}]}'
        ),
    ),
    (RetryDead(5, (ID,)), f'{{"REQUEST":"DEAD_RETRY","ID":5,"TASK_IDS":["{ID}"]}}'),
    (GetHistory(6, "11111111111", 10), '{"REQUEST":"HISTORY","ID":6,"CPF":"11111111111","LIMIT":10}'),
    (
        History(6, (BalanceChange(ID, BALANCE, 1),)),
        f'{{"REPLY":"HISTORY","ID":6,"CHANGES":[{{"TASK_ID":"{ID}","SALDO":"99.99","AT_MS":1}}]}}',
    ),
    (RequestFailed(7, "why"), '{"REPLY":"ERROR","ID":7,"ERROR":"why"}'),
    (Refusal("why"), '{"STATUS":"NOK","ERROR":"why"}'),
]


def frame(text: str | bytes) -> Frame:
    return Frame(text, parse(text))


@pytest.mark.parametrize(("dialect", "message", "text"), LEGACY)
def test_legacy_messages(dialect: Dialect, message: Message, text: str) -> None:
    """Each legacy message is written byte for byte as the legacy programs write it, and read back."""
    assert encode(message, dialect).decode() == text
    decoded = decode(frame(text))
    assert decoded.message == message
    assert type(decoded.message) is type(message)
    assert dialect in decoded.dialects


@pytest.mark.parametrize(("message", "text"), NATIVE)
def test_native_messages(message: Message, text: str) -> None:
    """Each native message is compact JSON, and read back."""
    assert encode(message, N).decode() == text
    decoded = decode(frame(text))
    assert decoded.message == message
    assert type(decoded.message) is type(message)
    assert decoded.dialects == N or isinstance(message, Refusal)


def test_all_rows_are_tested() -> None:
    """Every message of the table is in one of the lists above, in each of its dialects."""
    listed = {(type(message), str(dialect)) for dialect, message, _ in LEGACY} | {
        (type(message), "N") for message, _ in NATIVE
    }
    rows = {(row.kind, dialect) for row in dialects.TABLE for dialect in row.dialects}
    same = {"DropDead", "DeadRetried", "DeadDropped"}  # as RetryDead
    assert {row for row in rows - listed if row[0].__name__ not in same} == set()


def test_native_dialect_extends_dialect_a() -> None:
    """A native message has all keys and constants of the same message in dialect A: legacy programs understand it."""
    native = {row.kind: row for row in dialects.TABLE if N in row.dialects}
    for row in dialects.TABLE:
        if row.dialects in ("A", "AN"):
            assert row.keys.keys() <= native[row.kind].keys.keys()
            assert set(row.constants) <= set(native[row.kind].constants)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"WORKER": "ALIVE", "WORKER_UUID": null}', WorkerAlive()),
        ('{"WORKER": "ALIVE", "WORKER_UUID": "w-1", "COLOUR": [1.5, {"x": null}]}', WorkerAlive("w-1")),
        ('{"STATUS": "OK", "SALDO": 99.99, "CPU": 12.5}', Reports((Report(True, balance=BALANCE),))),
        ('{"STATUS": "OK", "SALDO": "99.99"}', Reports((Report(True, balance=BALANCE),))),
        ('{"STATUS": "OK", "SALDO": 5}', Reports((Report(True, balance=Decimal("5.00")),))),
        ('{"STATUS": "OK", "WORKER_ID": "w-1"}', Reports((Report(True),), "w-1")),
        ('{"STATUS": "NOK", "TASK": "QUERY"}', Reports((Report(False, kind="QUERY"),))),
        ('{"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "10.0.0.2", "PORT": 8766}}', Redirect(TARGET)),
        (
            '{"TASK": "UPDATE", "CPF": "11111111111", "SALDO": 1e2}',
            Tasks((Task("UPDATE", "11111111111", Decimal(100)),)),
        ),
    ],
)
def test_lenient_reading(text: str, message: Message) -> None:
    """Unknown keys are ignored, null is absence, and balances may be numbers or text."""
    assert decode(frame(text)).message == message


def test_balances_without_a_float() -> None:
    """A number with more digits than a float holds is rejected, not rounded to one that fits."""
    with pytest.raises(ValueError, match="SALDO has more than 2 decimal places"):
        decode(frame('{"STATUS": "OK", "SALDO": 99.9900000000000001}'))


@pytest.mark.parametrize(
    ("message", "dialect"),
    [
        (NoTask(), A),
        (Release("s-1", ()), A),
        (WorkerLeaving("w-1"), C),
        (Submit(1, ()), B),
        (Tasks((Task("NOOP"), Task("NOOP"))), A),
        (Reports(()), C),
    ],
)
def test_message_that_the_dialect_has_not(message: Message, dialect: Dialect) -> None:
    """A dialect that does not have a message, or not several tasks in one, is a defect of the program."""
    with pytest.raises(Misuse, match=f"dialect {dialect} has no {type(message).__name__}"):
        encode(message, dialect)


def test_long_error_is_cut() -> None:
    """The reason of a failure is cut, not rejected: a traceback must not cost the report."""
    decoded = decode(frame(json.dumps({"STATUS": "NOK", "TASK": "QUERY", "ERROR": "x" * 1000})))
    assert decoded.message == Reports((Report(False, error="x" * 500, kind="QUERY"),))
    message = Reports((Report(False, ID, error="x" * 1000),))
    for dialect in (A, N):
        assert b'"' + b"x" * 500 + b'"' in encode(message, dialect)


def test_trace_of_its_own_id() -> None:
    """A task whose trace id is its own id carries no trace."""
    text = f'{{"TASK":"NOOP","TASK_ID":"{ID}","TRACEPARENT":"00-{ID}-{ID[16:]}-01"}}'
    assert decode(frame(text)).message == Tasks((Task("NOOP", id=ID),))


def test_report_in_dialect_a() -> None:
    """In dialect A only a failure says of which kind the task was."""
    assert encode(Reports((Report(True, kind="QUERY"),), "w-1"), A) == b'{"STATUS": "OK"}'
