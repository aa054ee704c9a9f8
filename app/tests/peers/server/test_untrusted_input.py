"""Malformed, oversized, slow and too many: bounded, answered, and nobody else is harmed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import output, server
from support.peers import Caller, PeersServer, exchange, websocket


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[PeersServer]:
    flags = ("--durable", "no", "--max-connections", "20", "--first-message-timeout-s", "0.5", "--max-errors", "3")
    with server(tmp_path, *flags, "--lease-s", "0.4", kind=PeersServer) as running:
        assert isinstance(running, PeersServer)
        yield running


def healthy(peers: PeersServer) -> bool:
    answer = exchange(peers.port, {"REQUEST": "STATUS", "ID": 7})
    return bool(answer["ID"] == 7)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x16\x03\x01\x00\xa5\n", "expected"),
        (b'{"WORKER": "ALIVE", "CAPACITY": "many", "WORKER_UUID": "w"}\n', "CAPACITY must be an integer"),
        (b'{"TASK": "UPDATE", "CPF": "1"}\n', "CPF"),
        (b'{"a":' * 10_000, "nested too deeply"),
        (b'{"a": "' + b"x" * 2**20 + b'"}\n', "too long"),
        (b'{"REQUEST": "NOTHING", "ID": 3}\n', "unknown message"),
    ],
    ids=("tls", "type", "cpf", "nesting", "oversized", "unknown"),
)
def test_malformed_message_is_answered(peers: PeersServer, data: bytes, reason: str) -> None:
    """The answer says what is wrong, and the server goes on."""
    with Caller(peers.port) as caller:
        answer = caller.send(data).message()
        assert reason in answer["ERROR"]
    assert healthy(peers)


def test_malformed_task_rejects_only_itself(peers: PeersServer) -> None:
    """Of a SUBMIT, each task is accepted or rejected by itself; SQL in a name is a name."""
    tasks = [
        {"TASK": "QUERY", "USER": "'; DROP TABLE users; --"},
        {"TASK": "UPDATE", "CPF": "111111111111", "SALDO": "1.00"},
        {"TASK": "UPDATE", "CPF": "11111111111", "SALDO": "1e400"},
        {"TASK": "UPDATE", "CPF": "11111111111", "SALDO": "1.00", "MORE": [1]},
    ]
    outcome = exchange(peers.port, {"REQUEST": "SUBMIT", "ID": 1, "TASKS": tasks})["TASKS"]
    assert [isinstance(one, str) for one in outcome] == [True, False, False, True]
    assert "CPF must have 11 digits" in outcome[1]["ERROR"]


def test_too_many_errors_end_the_connection(peers: PeersServer) -> None:
    """After --max-errors malformed messages the connection is closed."""
    with Caller(peers.port) as caller:
        answers = [caller.send(b'{"TASK": 1}\n').message() for _ in range(4)]
        assert all(answer["STATUS"] == "NOK" for answer in answers)
        assert caller.message() == {}


def test_silent_connection_is_closed(peers: PeersServer) -> None:
    """A connection without a valid message is closed after the timeout, also in the middle of a handshake."""
    for begin in (b"", b"{", b"GE", b"GET / HTTP/1.1\r\n"):
        with Caller(peers.port) as caller:
            if begin:
                caller.send(begin)
            caller.socket.settimeout(10)
            assert caller.socket.recv(100) == b""


def test_connections_above_the_limit_are_rejected(peers: PeersServer) -> None:
    """The connections above the limit get the reason, and those below it work."""
    callers = [Caller(peers.port) for _ in range(30)]
    answers = [caller.message() for caller in callers]
    rejected = [answer for answer in answers if answer]
    assert len(rejected) == 10
    assert all("too many connections" in answer["ERROR"] for answer in rejected)
    for caller in callers:
        caller.close()
    assert healthy(peers)


def test_browser_is_refused(peers: PeersServer) -> None:
    """A WebSocket handshake with an Origin, as a page in a browser sends it, is refused with 403."""
    with Caller(peers.port) as caller:
        head = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://evil\r\n"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        caller.send((head + key).encode())
        assert caller.socket.recv(100).startswith(b"HTTP/1.1 403")


def test_oversized_websocket_message(peers: PeersServer) -> None:
    """A message above the limit closes its WebSocket with 1009."""
    with websocket(peers.port) as socket:
        socket.send("x" * 2**21)
        with pytest.raises(Exception, match="1009"):
            socket.recv(10)
    assert healthy(peers)


def test_reports_that_do_not_fit_are_refused(peers: PeersServer) -> None:
    """A task that the worker never had, one that is reported twice, and one after its lease."""
    with Caller(peers.port) as worker:
        worker.send({"WORKER": "ALIVE", "WORKER_UUID": "w", "CAPACITY": 1}, b"\n").message()
        worker.send({"STATUS": "OK", "TASK_ID": "0" * 32}, b"\n")
        assert "does not have the task" in worker.message()["ERROR"]
        words = ("peers", "submit", "noop", "--no-wait", "--host", "127.0.0.1", "--port", peers.port)
        task_id = output(*words).strip()
        assert worker.message()["TASKS"][0]["TASK_ID"] == task_id
        for _ in range(2):  # the second one is a duplicate, and changes nothing
            worker.send({"STATUS": "OK", "TASK_ID": task_id}, b"\n")
        late = output(*words).strip()
        assert worker.message()["TASKS"][0]["TASK_ID"] == late
        peers.wait_for(f"attempt 1 of task {late} failed")
    status = exchange(peers.port, {"REQUEST": "STATUS", "ID": 1})["STATUS"]
    assert status["tasks"]["done"] == 1


def test_second_worker_of_a_name_replaces_the_first(peers: PeersServer) -> None:
    """The newest connection of a worker counts; the tasks of the former one are handed out again."""
    with Caller(peers.port) as first, Caller(peers.port) as second:
        alive = {"WORKER": "ALIVE", "WORKER_UUID": "w", "CAPACITY": 1}
        first.send(alive, b"\n").message()
        exchange(peers.port, {"REQUEST": "SUBMIT", "ID": 1, "TASKS": [{"TASK": "NOOP"}]})
        task = first.message()["TASKS"][0]
        second.send(alive, b"\n").message()
        assert second.message()["TASKS"] == [task]
        assert first.message() == {}


def test_metrics_count_what_was_rejected(tmp_path: Path) -> None:
    """The counters of malformed messages are metrics."""
    with server(tmp_path, "--durable", "no", kind=PeersServer) as running:
        exchange(running.port, {"TASK": 1})
        assert json.loads(output("peers", "status", "--json", "--port", running.port))["connections"] == 1
