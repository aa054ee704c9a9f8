"""The calling sides: workers, servers and clients talk with the server's side, and with legacy servers."""

from decimal import Decimal
from typing import Any

import pytest

from frota.peers.protocol import calling_sides
from frota.peers.protocol.calling_sides import ClientSide, PeerSide, WorkerSide, WorkerState
from frota.peers.protocol.codec.dialects import Dialect, Misuse
from frota.peers.protocol.messages import (
    Address,
    DeadTask,
    Heartbeat,
    HeartbeatReply,
    LoanEnded,
    LoanRenew,
    LoanRenewed,
    Message,
    NoTask,
    Redirect,
    Refusal,
    Release,
    ReleaseAck,
    ReleaseCompleted,
    Report,
    ReportAck,
    Reports,
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
from frota.peers.protocol.requests import DeadTasks, GetDead, GetStatus, RequestFailed, Status, Submit, Submitted
from frota.peers.protocol.server_side import Rejected, ServerSide

ID, OTHER_ID = "0123456789abcdef" * 2, "fedcba9876543210" * 2
HOME, TARGET = Address("10.0.0.1", 8765), Address("10.0.0.2", 8766)
ALIVE = WorkerAlive("w-1", 64)
QUERY, NOOP = Task("QUERY", "Ana", None, ID), Task("NOOP", id=OTHER_ID)
REPORT = Report(True, ID, Decimal("99.99"))


def transfer(sender: Any, message: Message, receiver: Any) -> None:
    """Send a message, and see it received."""
    (event,) = receiver.receive(sender.send(message))
    assert event == message


def test_native_worker() -> None:
    """A worker and a server of ours exchange batches, renewals, and the end of both kinds."""
    worker, server = WorkerSide(), ServerSide("caller")
    transfer(worker, ALIVE, server)
    transfer(worker, Reports((), "w-1"), server)
    for message in (Welcome("s-1", 30), Tasks((QUERY, NOOP), 30), LoanRenew("l-1", 1, 60)):
        transfer(server, message, worker)
    transfer(worker, Reports((REPORT, Report(False, OTHER_ID, error="no", retry=True)), "w-1"), server)
    assert worker.dialect is Dialect.NATIVE
    transfer(worker, WorkerLeaving("w-1", (ID,)), server)
    transfer(server, Redirect(TARGET, HOME, (), "s-2", "l-1", 1, 60), worker)
    assert worker.state is WorkerState.LEAVING


def test_redirected_worker() -> None:
    """A worker that is told to go reports what it has, and gets no more."""
    worker, server = WorkerSide(), ServerSide("caller")
    transfer(worker, ALIVE, server)
    transfer(server, Tasks((QUERY,), 30), worker)
    transfer(server, Return(HOME, "l-1", 1), worker)
    transfer(worker, Reports((REPORT,), "w-1"), server)
    assert worker.state is WorkerState.MOVING


def test_worker_of_a_legacy_server() -> None:
    """A server that sends a task alone is a legacy one: the report is alone, too, and ALIVE has no CAPACITY."""
    worker = WorkerSide()
    assert worker.send(ALIVE) == b'{"WORKER":"ALIVE","WORKER_UUID":"w-1","CAPACITY":64}\n'
    (event,) = worker.receive(b'{"TASK": "UPDATE", "CPF": "11111111111", "SALDO": 99.99}')
    assert event == Tasks((Task("UPDATE", "11111111111", Decimal("99.99")),))
    assert (worker.dialect, worker.state) == (Dialect.A, WorkerState.BUSY)
    assert worker.send(Reports((REPORT._replace(id=""),), "w-1")) == b'{"STATUS": "OK", "SALDO": 99.99}\n'
    assert worker.send(ALIVE) == b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}\n'
    (event,) = worker.receive(b'{"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "10.0.0.2", "PORT": 8766}}')
    assert event == Redirect(TARGET)


def test_worker_in_dialect_b() -> None:
    """In dialect B nothing ends with a newline, and every message has the worker's id."""
    worker, server = WorkerSide(Dialect.B), ServerSide("caller")
    assert worker.send(WorkerAlive("w-1")) == b'{"WORKER": "ALIVE", "WORKER_ID": "w-1"}'
    server.receive(b'{"WORKER": "ALIVE", "WORKER_ID": "w-1"}')
    transfer(server, Tasks((Task("QUERY", "Ana"),)), worker)
    transfer(worker, Reports((Report(True, balance=Decimal("5.00"), account="Ana"),), "w-1"), server)
    transfer(server, Redirect(TARGET), worker)


def test_worker_in_dialect_c() -> None:
    """In dialect C each exchange is a connection: ALIVE and its answer, a report and its answer."""
    for answer in (Tasks((Task("QUERY", "Ana"),)), NoTask(), Redirect(TARGET), Return(HOME)):
        worker, server = WorkerSide(Dialect.C), ServerSide("caller")
        transfer(worker, WorkerAlive("w-1"), server)
        transfer(server, answer, worker)
    worker, server = WorkerSide(Dialect.C), ServerSide("caller")
    transfer(worker, Reports((Report(True, kind="QUERY"),), "w-1"), server)
    transfer(server, ReportAck(), worker)
    assert worker.state is WorkerState.DONE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"TASK":"BATCH"}', "LEASE_S is missing"),
        (b'{"WORKER":"ALIVE"}', "ALIVE of a legacy worker does not fit: the worker takes tasks"),
        (b'{"STATUS":"ACK"}', "the answer to a report does not fit: the worker takes tasks"),
        (b"HTTP/1.1 400", "expected \"{\" of a JSON object, not b'H'"),
    ],
)
def test_server_that_makes_mistakes(text: bytes, reason: str) -> None:
    """A worker closes the connection to a server whose messages are malformed or do not fit."""
    worker = WorkerSide()
    worker.send(ALIVE)
    assert worker.receive(text) == [Rejected(reason, b"", fatal=True)]


def test_worker_that_makes_mistakes() -> None:
    """A worker that sends what does not fit is a defect."""
    worker = WorkerSide()
    with pytest.raises(Misuse, match="a report is not to be sent: the worker has not introduced itself"):
        worker.send(Reports((REPORT,)))
    side = WorkerSide(Dialect.C)
    side.send(WorkerAlive("w-1"))
    with pytest.raises(Misuse, match="dialect C has no WorkerLeaving"):
        side.send(WorkerLeaving("w-1"))


def test_refused_worker() -> None:
    """A refusal is returned to the worker."""
    worker, server = WorkerSide(), ServerSide("caller")
    transfer(worker, ALIVE, server)
    transfer(server, Refusal("unknown task"), worker)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_peers(dialect: Dialect) -> None:
    """A server asks its peer in any dialect: heartbeats, and for workers."""
    native = dialect is Dialect.NATIVE
    name = "" if dialect is Dialect.A else "s-1"
    request = {
        Dialect.A: WorkerRequest(5),
        Dialect.B: WorkerRequest(server="s-1"),
        Dialect.C: WorkerRequest(address=HOME),
        Dialect.NATIVE: WorkerRequest(5, "s-1", HOME, "l-1", 1, 60),
    }[dialect]
    denied = WorkersDenied("s-1", "l-1", "busy") if native else WorkersDenied(name)
    caller, server = PeerSide(dialect), ServerSide("caller")
    for question, answer in (
        (Heartbeat(name), HeartbeatReply(name)),
        (request, WorkersGranted("s-2", ("w-1",))),
        (request, denied),
    ):
        transfer(caller, question, server)
        transfer(server, answer, caller)
        assert caller.awaited == ()
    assert caller.dialect is server.dialect is dialect


def test_loans() -> None:
    """A loan is renewed, or has ended; workers are given back; the last message needs no answer."""
    caller, server = PeerSide(), ServerSide("caller")
    for question, answer in (
        (LoanRenew("l-1", 1, 60, "s-1"), LoanRenewed("l-1", 1, 60)),
        (LoanRenew("l-1", 1, 60, "s-1"), LoanEnded("l-1", 1, "expired")),
        (Release("s-1", ("w-1",), "l-1", 1), ReleaseAck("s-2", ("w-1",), "l-1", 1)),
        (Heartbeat("s-1"), Refusal("who are you?")),
    ):
        transfer(caller, question, server)
        transfer(server, answer, caller)
    transfer(caller, ReleaseCompleted("s-1", ("w-1",), "l-1", 1), server)
    assert caller.awaited == ()


def test_legacy_peer() -> None:
    """A peer that answers a native heartbeat as a legacy one is spoken to in dialect A."""
    caller = PeerSide()
    caller.send(Heartbeat("s-1"))
    assert caller.receive(b'{"SERVER": "ALIVE", "TASK": "RECIEVE"}') == [HeartbeatReply()]
    assert caller.send(WorkerRequest(5, "s-1", HOME, "l-1")) == b'{"TASK": "WORKER_REQUEST", "WORKERS_NEEDED": 5}\n'
    caller.receive(b'{"TASK": "WORKER_RESPONSE", "STATUS": "NACK", "WORKERS": []}')
    with pytest.raises(Misuse, match="dialect A has no LoanRenew"):
        caller.send(LoanRenew("l-1", 1, 60))


def test_one_request_at_a_time() -> None:
    """A server waits for the reply of its peer, and rejects another one."""
    caller = PeerSide()
    caller.send(Heartbeat("s-1"))
    with pytest.raises(Misuse, match="Heartbeat is not to be sent: a reply is awaited"):
        caller.send(Heartbeat("s-1"))
    (event,) = caller.receive(b'{"TASK":"WORKER_RESPONSE","STATUS":"NACK","WORKERS":[]}')
    assert event == Rejected("WorkersDenied is no reply to the request", b"", fatal=True)


def test_client() -> None:
    """Replies arrive in any order; those to no request are rejected, but for errors, which may have no id."""
    client, server = ClientSide(), ServerSide("caller")
    transfer(client, Submit(1, (QUERY, NOOP)), server)
    transfer(client, GetStatus(2), server)
    with pytest.raises(Misuse, match="request 2 is not to be sent again"):
        client.send(GetStatus(2))
    transfer(server, Status(2, {"queue": 5}), client)
    transfer(server, RequestFailed(0, "malformed"), client)
    transfer(server, Submitted(1, (ID, OTHER_ID)), client)
    assert client.awaited == {}
    (event,) = client.receive(server.send(Status(2, {})))
    assert event == Rejected("reply to request 2, which is not awaited", b"", fatal=True)
    (event,) = client.receive(b'{"TASK":"NO_TASK"}')
    assert event == Rejected("NoTask is no reply", b"", fatal=True)


def test_largest_reply() -> None:
    """A client accepts the largest dead list that a server sends."""
    dead = DeadTask(Task("QUERY", "\u00e7" * 50, None, ID, OTHER_ID), "\x00" * 500, 2**53, 2**53)
    client, server = ClientSide(), ServerSide("caller")
    transfer(client, GetDead(1, 1000), server)
    transfer(server, DeadTasks(1, (dead,) * 1000), client)


def test_client_over_websocket() -> None:
    """Over a WebSocket nothing ends with a newline."""
    client = ClientSide(websocket=True)
    assert client.send(GetStatus(1)) == b'{"REQUEST":"STATUS","ID":1}'
    assert client.receive_text('{"REPLY":"STATUS","ID":1,"STATUS":{}}') == [Status(1, {})]


def test_tables_are_complete() -> None:
    """Every state of a worker has a row in both tables, and is reached."""
    assert set(calling_sides.WORKER_RECEIVES) == set(calling_sides.WORKER_SENDS) == set(WorkerState)
    rows = [row for table in (calling_sides.WORKER_RECEIVES, calling_sides.WORKER_SENDS) for row in table.values()]
    assert {state for row in rows for state in row.values()} == set(WorkerState) - {WorkerState.NEW}
