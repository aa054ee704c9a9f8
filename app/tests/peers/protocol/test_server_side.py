"""The server's side: conversations in each dialect, and messages that do not fit."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.peers.protocol.codec.dialects import Dialect, Misuse
from frota.peers.protocol.messages import (
    Address,
    Heartbeat,
    HeartbeatReply,
    LoanEnded,
    LoanRenew,
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
from frota.peers.protocol.requests import GetStatus, RequestFailed, Status, Submit, Submitted
from frota.peers.protocol.server_side import Event, Rejected, ServerSide
from frota.peers.protocol.states import State

CALLER = "10.0.0.9:40000"
ID, OTHER_ID = "0123456789abcdef" * 2, "fedcba9876543210" * 2
HOME, TARGET = Address("10.0.0.1", 8765), Address("10.0.0.2", 8766)
QUERY = Task("QUERY", "Ana", None, ID)
NATIVE_ALIVE = b'{"WORKER":"ALIVE","WORKER_UUID":"w-1","CAPACITY":64}\n'


def server(*, websocket: bool = False) -> ServerSide:
    return ServerSide(CALLER, websocket=websocket)


def only(events: list[Event]) -> Event:
    """Return the one event."""
    (event,) = events
    return event


def rejected(events: list[Event]) -> tuple[str, bytes]:
    """Return the reason and the answer of the one event, a rejection that costs nothing."""
    event = only(events)
    assert isinstance(event, Rejected)
    assert not event.fatal
    return event.reason, event.answer


def test_dialect_a() -> None:
    """A worker without an id gets tasks one by one, and REDIRECT; nothing ends with a newline if ALIVE did not."""
    side = server(websocket=True)
    assert only(side.receive_text('{"WORKER": "ALIVE"}')) == WorkerAlive(CALLER)
    assert (side.dialect, side.state, side.worker) == (Dialect.A, State.IDLE, CALLER)
    assert side.send(Tasks((QUERY,))) == b'{"TASK": "QUERY", "USER": "Ana"}'
    event = only(side.receive_text('{"STATUS": "OK", "SALDO": 99.99, "USER": "Ana"}'))
    assert event == Reports((Report(True, ID, Decimal("99.99"), account="Ana"),), CALLER)
    assert side.send(Tasks((QUERY,))) == b'{"TASK": "QUERY", "USER": "Ana"}'
    event = only(side.receive_text(b'{"STATUS": "NOK", "TASK": "QUERY", "ERROR": "User not found"}'))
    assert event == Reports((Report(False, ID, error="User not found", kind="QUERY"),), CALLER)
    assert side.send(Redirect(TARGET, HOME)).startswith(b'{"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "10.0.0.2"')
    assert only(side.receive_text('{"WORKER": "ALIVE"}')) == WorkerAlive(CALLER)  # it has not obeyed
    assert side.state is State.IDLE


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_dialect_a_over_tcp(end: bytes) -> None:
    """Answers end with a newline if the worker's messages do."""
    side = server()
    assert only(side.receive(b'{"WORKER": "ALIVE"}' + end)) == WorkerAlive(CALLER)
    assert side.dialect is Dialect.A
    assert side.send(Tasks((QUERY,))) == b'{"TASK": "QUERY", "USER": "Ana"}' + end


def test_dialect_b() -> None:
    """ALIVE once, then reports, each answered by the next task or by REDIRECT; no newline anywhere."""
    side = server()
    assert only(side.receive(b'{"WORKER": "ALIVE", "WORKER_ID": "w-1"}')) == WorkerAlive("w-1")
    assert side.dialect is Dialect.B
    for _ in range(2):
        assert side.send(Tasks((QUERY,))) == b'{"TASK": "QUERY", "USER": "Ana"}'
        event = only(side.receive(b'{"STATUS": "OK", "SALDO": 512, "USER": "Ana", "WORKER_ID": "w-1"}'))
        assert event == Reports((Report(True, ID, Decimal("512.00"), account="Ana"),), "w-1")
    assert side.send(Return(HOME)) == b'{"TASK": "REDIRECT", "MASTER_REDIRECT": ["10.0.0.1", 8765]}'
    assert side.state is State.REDIRECTED


def test_report_without_task_or_id() -> None:
    """A bare NOK of a legacy worker that has a task is the report of that task."""
    side = server()
    side.receive(b'{"WORKER": "ALIVE", "WORKER_ID": "w-1"}')
    side.send(Tasks((QUERY,)))
    event = only(side.receive(b'{"STATUS": "NOK", "ERROR": "no"}'))
    assert event == Reports((Report(False, ID, error="no"),), "w-1")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Tasks((QUERY,)), b'{"TASK": "QUERY", "USER": "Ana"}\n'),
        (NoTask(), b'{"TASK": "NO_TASK"}\n'),
        (Redirect(TARGET), b'{"TASK": "REDIRECT", "SERVER_REDIRECT": {"ip": "10.0.0.2", "port": 8766}}\n'),
        (Return(HOME), b'{"TASK": "RETURN", "SERVER_RETURN": {"ip": "10.0.0.1", "port": 8765}}\n'),
        (Refusal("no"), b'{"STATUS": "NOK", "ERROR": "no"}\n'),
    ],
)
def test_dialect_c_alive(answer: Any, text: bytes) -> None:
    """An ALIVE of dialect C is answered once: by a task, NO_TASK, a redirect or a return."""
    side = server()
    event = only(side.receive(b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1", "SERVER_UUID": "s-2"}\n'))
    assert event == WorkerAlive("w-1", owner="s-2")
    assert (side.dialect, side.state) == (Dialect.C, State.REQUESTED)
    assert side.send(answer) == text
    assert side.state is State.ANSWERED
    with pytest.raises(Misuse):
        side.send(NoTask())


def test_dialect_c_report() -> None:
    """A report of dialect C comes first on its connection; its task is known by the worker alone."""
    side = server()
    event = only(side.receive(b'{"STATUS": "OK", "TASK": "QUERY", "WORKER_UUID": "w-1"}\n'))
    assert event == Reports((Report(True, kind="QUERY"),), "w-1")
    assert side.send(ReportAck()) == b'{"STATUS": "ACK"}\n'
    assert side.state is State.ANSWERED


def test_dialect_c_on_one_connection() -> None:
    """A worker of dialect C may also keep its connection."""
    side = server()
    for _ in range(2):
        side.receive(b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}\n')
        side.send(Tasks((QUERY,)))
        assert only(side.receive(b'{"STATUS": "OK", "WORKER_UUID": "w-1"}\n')) == Reports((Report(True),), "w-1")
        side.send(ReportAck())
    assert rejected(side.receive(b'{"STATUS": "OK", "TASK": "QUERY"}\n'))[0] == "WORKER_UUID is missing"


def test_late_newline() -> None:
    """A newline in a packet of its own turns dialect A into C: ALIVE is returned once more, to be answered."""
    side = server()
    assert only(side.receive(b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}')) == WorkerAlive("w-1")
    assert (side.dialect, side.state) == (Dialect.A, State.IDLE)
    assert side.receive(b"\r") == []
    assert only(side.receive(b"\n")) == WorkerAlive("w-1")
    assert (side.dialect, side.state) == (Dialect.C, State.REQUESTED)
    assert side.send(NoTask()) == b'{"TASK": "NO_TASK"}\n'


def test_late_newline_after_the_task() -> None:
    """A task that was sent before the newline arrived is the answer of dialect C."""
    side = server()
    side.receive(b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}')
    side.send(Tasks((QUERY,)))
    assert side.receive(b"\n") == []
    assert (side.dialect, side.state) == (Dialect.C, State.ANSWERED)
    report = b'{"STATUS": "OK", "WORKER_UUID": "w-1"}\n'
    assert only(side.receive(report)) == Reports((Report(True, ID),), "w-1")
    side.send(ReportAck())
    assert only(side.receive(report)) == Reports((Report(True),), "w-1")  # of a task that it does not have


def test_newline_of_another_message() -> None:
    """A newline that is not the first message's tells nothing of the dialect."""
    side = server()
    assert only(side.receive(b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}{')) == WorkerAlive("w-1")
    assert rejected(side.receive(b'\n"STATUS": "OK"}'))[0] == "a report does not fit: the worker has no task"
    assert (side.dialect, side.state) == (Dialect.A, State.IDLE)


def test_worker_id_with_newline() -> None:
    """Dialect B has no newline: with one, a WORKER_ID is of dialect A."""
    for packets in (
        [b'{"WORKER": "ALIVE", "WORKER_ID": "w-1"}\n'],
        [b'{"WORKER": "ALIVE", "WORKER_ID": "w-1"}', b"\n"],
    ):
        side = server()
        events = [event for packet in packets for event in side.receive(packet)]
        assert only(events) == WorkerAlive("w-1")
        assert side.dialect is Dialect.A


def test_legacy_worker_over_websocket() -> None:
    """Dialects B and C are of TCP: over a WebSocket both kinds of id are of dialect A."""
    for key in ("WORKER_ID", "WORKER_UUID"):
        side = server(websocket=True)
        assert only(side.receive_text(f'{{"WORKER": "ALIVE", "{key}": "w-1"}}\n')) == WorkerAlive("w-1")
        assert side.dialect is Dialect.A


def test_native_worker() -> None:
    """A native worker has batches of tasks under a lease, reports them in any order, and gives the rest back."""
    side = server()
    assert only(side.receive(NATIVE_ALIVE)) == WorkerAlive("w-1", 64)
    assert (side.dialect, side.state) == (Dialect.NATIVE, State.NATIVE)
    assert side.send(Welcome("s-1", 30)).endswith(b'"LEASE_S":30}\n')
    side.send(Tasks((QUERY, Task("NOOP", id=OTHER_ID)), 30))
    side.send(Tasks((QUERY,), 30))
    reports = (Report(True, OTHER_ID), Report(False, ID, error="no"))
    text = f'{{"STATUS":"OK","TASK_ID":"{OTHER_ID}"}},{{"STATUS":"NOK","TASK_ID":"{ID}","ERROR":"no"}}'
    event = only(side.receive(f'{{"STATUS":"BATCH","REPORTS":[{text}]}}\n'.encode()))
    assert event == Reports(reports, "w-1")
    assert side.send(LoanRenew("l-1", 1, 60)).startswith(b'{"TASK":"LOAN_RENEW"')
    event = only(side.receive(f'{{"WORKER":"LEAVING","WORKER_UUID":"w-1","TASK_IDS":["{ID}"]}}\n'.encode()))
    assert event == WorkerLeaving("w-1", (ID,))
    assert not side.fits(Tasks)
    assert only(side.receive(b'{"STATUS":"BATCH","REPORTS":[]}\n')) == Reports((), "w-1")


def test_native_worker_is_redirected() -> None:
    """A native worker that is told to go reports its tasks, and gets no more."""
    side = server()
    side.receive(NATIVE_ALIVE)
    assert side.send(Return(HOME, "l-1", 2)).endswith(b'"LOAN":"l-1","EPOCH":2}\n')
    assert only(side.receive(NATIVE_ALIVE)) == WorkerAlive("w-1", 64)
    with pytest.raises(Misuse, match="a task is not to be sent: the worker takes no more tasks"):
        side.send(Tasks((QUERY,), 30))


@pytest.mark.parametrize("message", [NoTask(), ReportAck(), Welcome("s-1", 30), LoanRenew("l-1", 1, 60)])
def test_message_that_the_dialect_needs_not(message: Any) -> None:
    """What dialect A does not have, and does not need, is not sent."""
    side = server()
    side.receive(b'{"WORKER": "ALIVE"}')
    assert side.send(message) == b""
    assert side.state is State.IDLE


@pytest.mark.parametrize(
    ("request_", "message", "reply", "text"),
    [
        (
            '{"SERVER": "ALIVE", "TASK": "REQUEST"}',
            Heartbeat(),
            HeartbeatReply(),
            '{"SERVER": "ALIVE", "TASK": "RECIEVE"}',
        ),
        (
            '{"TASK": "WORKER_REQUEST", "WORKERS_NEEDED": 5}',
            WorkerRequest(5),
            WorkersDenied("s-2", reason="busy"),
            '{"TASK": "WORKER_RESPONSE", "STATUS": "NACK", "WORKERS": []}',
        ),
        (
            '{"SERVER_ID": "s-1", "TASK": "HEARTBEAT"}',
            Heartbeat("s-1"),
            HeartbeatReply("s-1"),
            '{"SERVER_ID": "s-1", "TASK": "HEARTBEAT", "RESPONSE": "ALIVE"}',
        ),
        (
            '{"MASTER": "s-1", "TASK": "WORKER_REQUEST"}',
            WorkerRequest(server="s-1"),
            WorkersGranted("s-1", ("w-1",)),
            '{"MASTER": "s-1", "RESPONSE": "AVAILABLE", "WORKERS": [{"id": "w-1"}]}',
        ),
        (
            '{"SERVER_UUID": "s-1", "TASK": "HEARTBEAT"}\n',
            Heartbeat("s-1"),
            HeartbeatReply("s-1"),
            '{"SERVER_UUID": "s-1", "TASK": "HEARTBEAT", "RESPONSE": "ALIVE"}\n',
        ),
        (
            '{"TASK": "WORKER_REQUEST", "REQUESTOR_INFO": {"ip": "10.0.0.1", "port": 8765}}\n',
            WorkerRequest(address=HOME),
            WorkersGranted("s-2", ("w-1",)),
            '{"SERVER_UUID": "s-2", "RESPONSE": "AVAILABLE", "WORKERS_UUID": ["w-1"]}\n',
        ),
        (
            '{"SERVER_UUID": "s-1", "TASK": "COMMAND_RELEASE", "WORKERS_UUID": ["w-1"]}\n',
            Release("s-1", ("w-1",)),
            ReleaseAck("s-2", ("w-1",)),
            '{"SERVER_UUID": "s-2", "RESPONSE": "RELEASE_ACK", "WORKERS_UUID": ["w-1"]}\n',
        ),
        (
            '{"SERVER":"ALIVE","TASK":"REQUEST","SERVER_UUID":"s-1"}\n',
            Heartbeat("s-1"),
            HeartbeatReply("s-2"),
            '{"SERVER":"ALIVE","TASK":"RECIEVE","SERVER_UUID":"s-2"}\n',
        ),
        (
            '{"TASK":"LOAN_RENEW","LOAN":"l-1","EPOCH":1,"TERM_S":60}\n',
            LoanRenew("l-1", 1, 60),
            LoanEnded("l-1", 2, "epoch is 2"),
            '{"TASK":"LOAN_RENEW","STATUS":"NACK","LOAN":"l-1","EPOCH":2,"ERROR":"epoch is 2"}\n',
        ),
    ],
)
def test_servers(request_: str, message: Any, reply: Any, text: str) -> None:
    """A server's request is answered in the dialect, and with the newline, of the request."""
    side = server()
    assert only(side.receive(request_.encode())) == message
    assert side.state is State.PEER
    assert side.send(reply).decode() == text


def test_release_completed() -> None:
    """RELEASE_COMPLETED comes on a connection of its own, and is not answered."""
    side = server()
    text = b'{"SERVER_UUID": "s-1", "RESPONSE": "RELEASE_COMPLETED", "WORKERS_UUID": ["w-1"]}\n'
    assert only(side.receive(text)) == ReleaseCompleted("s-1", ("w-1",))
    assert side.dialect is Dialect.C


def test_client() -> None:
    """A client's requests may be pipelined, and answered in any order."""
    side = server()
    submit = f'{{"REQUEST":"SUBMIT","ID":1,"TASKS":[{{"TASK":"NOOP","TASK_ID":"{ID}"}}]}}\n'
    events = side.receive(f'{submit}{{"REQUEST":"STATUS","ID":2}}\n'.encode())
    assert events == [Submit(1, (Task("NOOP", id=ID),)), GetStatus(2)]
    assert side.send(Status(2, {})) == b'{"REPLY":"STATUS","ID":2,"STATUS":{}}\n'
    assert side.send(Submitted(1, (ID,))) == f'{{"REPLY":"SUBMIT","ID":1,"TASKS":["{ID}"]}}\n'.encode()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b'{"REQUEST":"DEAD_LIST","ID":7}\n', b'{"REPLY":"ERROR","ID":7,"ERROR":"LIMIT is missing"}\n'),
        (
            b'{"REQUEST":"STATUS","ID":-1}\n',
            b'{"REPLY":"ERROR","ID":0,"ERROR":"ID must be 0 to 9007199254740992, is -1"}\n',
        ),
        (b'{"TASK":"QUERY"}\n', b'{"REPLY":"ERROR","ID":0,"ERROR":"USER is missing"}\n'),
    ],
)
def test_malformed_request(text: bytes, answer: bytes) -> None:
    """A client's malformed request is answered with its id, and costs no more than itself."""
    side = server()
    side.receive(b'{"REQUEST":"STATUS","ID":1}\n')
    assert rejected(side.receive(text))[1] == answer
    assert only(side.receive(b'{"REQUEST":"STATUS","ID":2}\n')) == GetStatus(2)
    assert side.send(RequestFailed(2, "no")) == b'{"REPLY":"ERROR","ID":2,"ERROR":"no"}\n'


def test_malformed_first_request() -> None:
    """A first message that is malformed is answered, too, and the next one may be the first."""
    side = server()
    assert rejected(side.receive(b'{"REQUEST":"STATUS"}\n'))[1] == b'{"REPLY":"ERROR","ID":0,"ERROR":"ID is missing"}\n'
    assert (
        rejected(side.receive(b'{"WORKER": 5}\n'))[1]
        == b'{"STATUS": "NOK", "ERROR": "WORKER must be a text, not a number"}\n'
    )
    assert side.state is State.NEW
    assert only(side.receive(NATIVE_ALIVE)) == WorkerAlive("w-1", 64)


@pytest.mark.parametrize(
    ("first", "text", "reason"),
    [
        ("", '{"STATUS": "OK", "TASK": "QUERY"}', "a report does not fit: the caller has not said who it is"),
        ("", '{"STATUS": "OK", "WORKER_ID": "w"}', "a report does not fit: the caller has not said who it is"),
        ("", '{"TASK": "QUERY", "USER": "Ana"}', "a task does not fit: the caller has not said who it is"),
        ("", '{"STATUS": "NOK", "ERROR": "x"}', "a refusal does not fit: the caller has not said who it is"),
        ('{"WORKER": "ALIVE"}', '{"STATUS": "OK"}', "a report does not fit: the worker has no task"),
        ('{"WORKER": "ALIVE"}', '{"REQUEST": "STATUS", "ID": 1}', "a message of dialect N does not fit: this is A"),
        ('{"WORKER": "ALIVE"}', '{"SERVER_ID": "s", "TASK": "HEARTBEAT"}',
         "a message of dialect B does not fit: this is A"),
        ('{"WORKER": "ALIVE"}', '{"SERVER": "ALIVE", "TASK": "REQUEST"}',
         "a request of a server does not fit: the worker has no task"),
        ('{"WORKER": "ALIVE"}', '{"WORKER": "ALIVE", "WORKER_UUID": "w-2"}',
         f"the worker must be '{CALLER}' on this connection, not 'w-2'"),
        (NATIVE_ALIVE.decode(), '{"STATUS":"OK"}', "TASK_ID is missing"),
        (NATIVE_ALIVE.decode(), '{"STATUS":"BATCH","WORKER_UUID":"w-2","REPORTS":[]}',
         "the worker must be 'w-1' on this connection, not 'w-2'"),
        (NATIVE_ALIVE.decode(), '{"WORKER":"ALIVE","WORKER_UUID":"w-2","CAPACITY":1}',
         "the worker must be 'w-1' on this connection, not 'w-2'"),
        (NATIVE_ALIVE.decode(), '{"WORKER":"ALIVE"}',
         "ALIVE of a legacy worker does not fit: the worker takes several tasks"),
        (NATIVE_ALIVE.decode(), '{"TASK":"NO_TASK"}', "a message of dialect C does not fit: this is N"),
        ('{"WORKER": "ALIVE", "WORKER_UUID": "w"}\n', '{"WORKER": "ALIVE", "WORKER_UUID": "w"}',
         "ALIVE of dialect C does not fit: the worker waits for the answer to ALIVE"),
        ('{"REQUEST": "STATUS", "ID": 1}', '{"REPLY": "STATUS", "ID": 1, "STATUS": {}}',
         "a reply to a client does not fit: the caller is a client"),
        ('{"SERVER": "ALIVE", "TASK": "REQUEST"}', '{"SERVER": "ALIVE", "TASK": "RECIEVE"}',
         "a reply to a server does not fit: the caller is a server"),
    ],
)  # fmt: skip
def test_message_that_does_not_fit(first: str, text: str, reason: str) -> None:
    """A message that does not fit the state is answered with the reason, and changes nothing."""
    side = server()
    if first:
        side.receive(first.encode())
    state = side.state
    assert rejected(side.receive(text.encode()))[0] == reason
    assert side.state is state


def test_two_reports_of_one_task() -> None:
    """A legacy worker that reports twice is told so; the second report has no task."""
    side = server()
    side.receive(b'{"WORKER": "ALIVE"}')
    side.send(Tasks((QUERY,)))
    first, second = side.receive(b'{"STATUS": "OK"}{"STATUS": "OK"}')
    assert isinstance(first, Reports)
    assert isinstance(second, Rejected)
    assert second.answer == b'{"STATUS": "NOK", "ERROR": "a report does not fit: the worker has no task"}'


def test_fatal_input() -> None:
    """What is no JSON is answered, and closes the connection."""
    side = server()
    event = only(side.receive(b"GET / HTTP/1.1\r\n"))
    assert isinstance(event, Rejected)
    assert event.fatal
    assert event.answer.startswith(b'{"STATUS": "NOK", "ERROR": "expected')
    assert side.state is State.CLOSED
    assert side.receive(NATIVE_ALIVE) == []


def test_malformed_text() -> None:
    """Over a WebSocket a malformed text costs only itself, an oversized one the connection."""
    side = ServerSide(CALLER, websocket=True, max_bytes=100)
    assert rejected(side.receive_text("{"))[1].startswith(b'{"STATUS": "NOK", "ERROR": "not JSON')
    event = only(side.receive_text(" " * 101))
    assert isinstance(event, Rejected)
    assert event.fatal


def test_tasks_of_a_legacy_worker() -> None:
    """A second task, or two at once, to a legacy worker is a defect, and changes nothing."""
    side = server()
    side.receive(b'{"WORKER": "ALIVE"}')
    with pytest.raises(Misuse, match="dialect A has no Tasks"):
        side.send(Tasks((QUERY, QUERY)))
    assert side.state is State.IDLE
    side.send(Tasks((QUERY,)))
    with pytest.raises(Misuse, match="a task is not to be sent: the worker has a task"):
        side.send(Tasks((QUERY,)))


CONVERSATIONS = [
    b'{"WORKER": "ALIVE"}{"STATUS": "OK"}{"WORKER": "ALIVE"}\n',
    b'{"WORKER": "ALIVE", "WORKER_ID": "w-1"}{"STATUS": "OK", "WORKER_ID": "w-1"}',
    b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}\n{"STATUS": "OK", "WORKER_UUID": "w-1"}\n',
    NATIVE_ALIVE + b'{"STATUS":"BATCH","REPORTS":[]}\n{"TASK": 5}\nrubbish',
    b'{"SERVER_UUID": "s-1", "TASK": "HEARTBEAT"}\n{"SERVER_ID": "s-1", "TASK": "HEARTBEAT"}\n',
    b'{"REQUEST":"STATUS","ID":1}\n{"REQUEST":"SUBMIT","ID":2,"TASKS":[{"TASK":"UPDATE","CPF":"1"}]}{"ID":3}\n',
]


def converse(packets: list[bytes]) -> tuple[list[Event], Dialect]:
    """Return the events of a conversation, without those that a late newline repeats."""
    side = server()
    events: list[Event] = []
    for packet in packets:
        for event in side.receive(packet):
            if event not in events[:1]:
                events.append(event)
    return [
        event._replace(answer=event.answer.rstrip()) if isinstance(event, Rejected) else event for event in events
    ], side.dialect


@given(st.sampled_from(CONVERSATIONS), st.data())
def test_conversation_in_any_packets(whole: bytes, data: st.DataObject) -> None:
    """Any split of a conversation gives the same events, answers and dialect."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert converse(pieces) == converse([whole])


@given(st.lists(st.binary(max_size=100) | st.sampled_from(CONVERSATIONS), max_size=8), st.booleans())
def test_arbitrary_input_raises_nothing(packets: list[bytes], websocket: bool) -> None:
    """Whatever arrives becomes events, and every rejection has an answer."""
    side = server(websocket=websocket)
    for packet in packets:
        for event in side.receive_text(packet) if websocket else side.receive(packet):
            if isinstance(event, Rejected):
                assert event.reason
                assert event.answer
