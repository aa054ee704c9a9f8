"""Malformed, oversized, slow, fast, too many, in clear text and over TLS: bounded, answered, nobody else is harmed."""

import json
import resource
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support import FULL, reserved_port, until
from support.peers import Caller, Certificates, PeersServer, exchange, peers_server, websocket
from support.prometheus import scrape

ALIVE: dict[str, Any] = {"WORKER": "ALIVE", "WORKER_UUID": "w", "CAPACITY": 1}
STATUS = {"REQUEST": "STATUS", "ID": 7}
MAX_ERRORS = 3
FLAGS = ("--max-errors", MAX_ERRORS)


@pytest.fixture(scope="module", params=["clear", "tls"])
def peers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[PeersServer]:
    """Run a server for the tests that leave it as it is."""
    own = certificates if request.param == "tls" else None
    with peers_server(tmp_path_factory.mktemp("peers"), *FLAGS, certificates=own) as running:
        yield running


@pytest.fixture(params=["clear", "tls"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates) -> Iterator[PeersServer]:
    """Run a server for one test."""
    own = certificates if request.param == "tls" else None
    with peers_server(tmp_path, certificates=own) as running:
        yield running


def healthy(peers: PeersServer) -> bool:
    return bool(peers.exchange(STATUS)["ID"] == 7)


def submit(peers: PeersServer, *tasks: dict[str, Any]) -> list[Any]:
    return list(peers.exchange({"REQUEST": "SUBMIT", "ID": 1, "TASKS": tasks})["TASKS"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"nonsense\n", "expected"),
        (b"[1]\n", "expected"),
        (b'{"WORKER": "ALIVE", "CAPACITY": "many", "WORKER_UUID": "w"}\n', "CAPACITY must be an integer"),
        (b'{"WORKER": "ALIVE", "WORKER_UUID": 7}\n', "WORKER_UUID must be a text"),
        (b'{"REQUEST": "RESULT", "ID": 1, "TASK_IDS": {}}\n', "TASK_IDS must be a list"),
        (b'{"TASK": "UPDATE", "CPF": "1"}\n', "CPF must have 11 digits"),
        (b'{"REQUEST": "SUBMIT", "ID": 1, "TASKS": [{"SALDO": NaN}]}\n', "not JSON"),
        (b'{"a":' * 10_000, "nested too deeply"),
        (b'{"a": "' + b"x" * 10_000_000 + b'"}\n', "too long"),
        (b'{"REQUEST": "NOTHING", "ID": 3}\n', "unknown message"),
        (b'{"REQUEST": "STATUS", "ID": 1}\xff', "expected"),
    ],
    ids=("text", "list", "type", "number", "object", "cpf", "nan", "nesting", "oversized", "unknown", "bytes"),
)
def test_malformed_message_is_answered(peers: PeersServer, data: bytes, reason: str) -> None:
    """The answer says what is wrong, and the server goes on."""
    with peers.caller() as caller:
        with suppress(ConnectionError):  # the server does not read all of a message that is too long
            caller.send(data)
        answers = [caller.message()]
        if "STATUS" in answers[0].get("REPLY", ""):  # a valid message came first
            answers.append(caller.message())
        assert reason in answers[-1]["ERROR"]
    assert healthy(peers)


def test_messages_in_any_packets(peers: PeersServer) -> None:
    """Two objects in a packet are two, half an object waits for the other half, and unknown keys are ignored."""
    with peers.caller() as caller:
        caller.send(b'{"REQUEST": "STATUS", "ID": 1}{"REQUEST": "STATUS", "ID": 2, "MORE": {"ID": [9]}}{"REQUE')
        assert [caller.message()["ID"] for _ in range(2)] == [1, 2]
        assert caller.quiet()
        caller.send(b'ST": "STATUS", "ID": 3}')
        assert caller.message()["ID"] == 3


def test_oversized_messages_take_no_memory(tmp_path: Path) -> None:
    """After messages of 10 MB each, the server has the memory that it had."""
    with peers_server(tmp_path, *FLAGS, fresh=True) as peers:
        before = peers.rss_kib()
        for _ in range(5):
            with Caller(peers.port) as caller, suppress(ConnectionError):
                caller.send(b'{"a": "' + b"x" * 10_000_000).message()
        assert healthy(peers)
        assert peers.rss_kib() - before < 8_000


def test_malformed_task_rejects_only_itself(fresh: PeersServer) -> None:
    """Of a SUBMIT, each task is accepted or rejected by itself; SQL in a name is a name."""
    outcome = submit(
        fresh,
        {"TASK": "QUERY", "USER": "'; DROP TABLE users; --"},
        {"TASK": "UPDATE", "CPF": "111111111111", "SALDO": "1.00"},
        {"TASK": "UPDATE", "CPF": "11111111111", "SALDO": "1e400"},
        {"TASK": "UPDATE", "CPF": "11111111111", "SALDO": "NaN"},
        {"TASK": "UPDATE", "CPF": "11111111111", "SALDO": "1.00", "MORE": [1]},
    )
    assert [isinstance(one, str) for one in outcome] == [True, False, False, False, True]
    assert "CPF must have 11 digits" in outcome[1]["ERROR"]
    assert "SALDO" in outcome[2]["ERROR"]
    assert "SALDO" in outcome[3]["ERROR"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("1e400", "number is infinity"),
        ("9" * 400, "number is infinity"),
        ("1e-400", "SALDO"),
        ("0.001", "SALDO"),
        ("1e10", "SALDO"),
    ],
    ids=("huge", "long", "tiny", "fraction", "large"),
)
def test_numbers_that_are_no_money_are_rejected(peers: PeersServer, number: str, reason: str) -> None:
    """A number that no float holds, or that is no balance, is rejected with the reason."""
    with peers.caller() as caller:
        task = f'{{"TASK": "UPDATE", "CPF": "11111111111", "SALDO": {number}}}'
        answer = caller.send(f'{{"REQUEST": "SUBMIT", "ID": 1, "TASKS": [{task}]}}\n'.encode()).message()
        assert reason in (answer.get("ERROR") or answer["TASKS"][0]["ERROR"])


def test_too_many_errors_end_the_connection(peers: PeersServer) -> None:
    """After --max-errors malformed messages the connection is closed, however many have arrived."""
    with peers.caller() as caller:
        answers = [caller.send(b'{"TASK": 1}\n').message() for _ in range(MAX_ERRORS + 1)]
        assert all(answer["STATUS"] == "NOK" for answer in answers)
        assert caller.message() == {}


def test_flood_of_malformed_messages_is_not_processed(tmp_path: Path) -> None:
    """Of 100,000 malformed messages at once only those are parsed that come before the end of the connection."""
    with reserved_port() as port, peers_server(tmp_path, *FLAGS, "--metrics-port", port) as peers:
        with Caller(peers.port) as caller:
            caller.send(b"{}" * 100_000)
            while caller.message():
                pass
        assert scrape(port)["frota_peers_messages_malformed_total"] == MAX_ERRORS + 1


def test_flood_of_messages_is_rate_limited(tmp_path: Path) -> None:
    """A connection above the rate limit waits, and gets every answer; others are answered meanwhile."""
    rate, count = 400, 600
    flags = ("--messages-per-second", rate, "--max-requests", 10_000)
    with reserved_port() as port, peers_server(tmp_path, *flags, "--metrics-port", port) as peers:
        with Caller(peers.port) as caller:
            caller.send(b"".join(json.dumps({**STATUS, "ID": number}).encode() for number in range(count)))
            assert [caller.message()["ID"] for _ in range(rate // 2)] == list(range(rate // 2))
            assert healthy(peers)
            assert [caller.message()["ID"] for _ in range(rate // 2, count)] == list(range(rate // 2, count))
        assert scrape(port)["frota_peers_rate_limited_total"] >= 2


def test_flood_of_frames_is_rate_limited(tmp_path: Path) -> None:
    """Frames of a WebSocket count as messages, also those without one; others are answered meanwhile."""
    flags = ("--messages-per-second", 2000)
    with (
        reserved_port() as port,
        peers_server(tmp_path, *flags, "--metrics-port", port) as peers,
        websocket(peers.port) as caller,
    ):
        caller.socket.sendall(b"\x89\x80\0\0\0\0" * 3_000)
        until(lambda: scrape(port)["frota_peers_rate_limited_total"], "the pings are not limited")
        assert healthy(peers)


def test_requests_above_the_limit_wait(tmp_path: Path) -> None:
    """What arrives while --max-requests of a client have no answer is processed after the answers."""
    with peers_server(tmp_path, "--max-requests", 2) as peers, Caller(peers.port) as caller:
        (task_id,) = submit(peers, {"TASK": "NOOP"})
        requests = [{"REQUEST": "RESULT", "ID": number, "TASK_IDS": [task_id], "WAIT_S": 30} for number in (1, 2)]
        caller.send(b"".join(json.dumps(request).encode() for request in [*requests, STATUS, STATUS]))
        assert caller.quiet()
        with Caller(peers.port) as worker:
            worker.send(ALIVE, b"\n").message()
            worker.send({"STATUS": "OK", "TASK_ID": worker.message()["TASKS"][0]["TASK_ID"]}, b"\n")
            assert sorted(caller.message()["ID"] for _ in range(4)) == [1, 2, 7, 7]


def test_reports_are_not_rate_limited(tmp_path: Path) -> None:
    """A worker reports as many tasks as it gets, above the rate limit."""
    flags = ("--messages-per-second", 10)
    with reserved_port() as port, peers_server(tmp_path, *flags, "--metrics-port", port) as peers:
        with Caller(peers.port) as worker:
            worker.send(ALIVE, b"\n").message()
            submit(peers, *[{"TASK": "NOOP"}] * 200)
            for _ in range(200):
                task_id = worker.message()["TASKS"][0]["TASK_ID"]
                worker.send({"STATUS": "OK", "TASK_ID": task_id}, b"\n")
        assert scrape(port)["frota_peers_rate_limited_total"] == 0


def test_buffers_are_bounded(tmp_path: Path) -> None:
    """When all incomplete messages together are too long, the longest is dropped with a reason; the others arrive."""
    flags = ("--max-buffered-bytes", 100_000, "--metrics-port")
    with reserved_port() as port, peers_server(tmp_path, *flags, port) as peers:
        with Caller(peers.port) as large, Caller(peers.port) as small, websocket(peers.port) as framed:
            large.send(b'{"REQUEST": "' + b"x" * 60_000)
            until(lambda: scrape(port)["frota_peers_buffered_bytes"] > 60_000, "nothing is buffered")
            framed.socket.sendall(b"\x01\xfe\x75\x30\0\0\0\0" + b" " * 30_000)  # a first fragment
            until(lambda: scrape(port)["frota_peers_buffered_bytes"] > 90_000, "the fragment is not counted")
            small.send(json.dumps({**STATUS, "MORE": "x" * 20_000}).encode()[:-1])
            assert "buffers are full" in large.message()["ERROR"]
            assert large.message() == {}
            assert small.send(b"}").message()["ID"] == 7
            framed.socket.sendall(b"\x80\x82\0\0\0\0{}")
            assert "unknown message" in json.loads(framed.recv())["ERROR"]
        samples = scrape(port)
    assert samples["frota_peers_connections_evicted_total"] == 1
    assert samples["frota_peers_buffered_bytes"] == 0


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_silent_connection_is_closed(tmp_path: Path, certificates: Certificates, secure: bool) -> None:
    """A connection without a valid message is closed after the timeout, also in the middle of a handshake."""
    own = certificates if secure else None
    with peers_server(tmp_path, "--first-message-timeout-s", "0.2", certificates=own) as peers:
        for begin in (b"", b"{", b"GE", b"GET / HTTP/1.1\r\n"):
            with suppress(ConnectionError, ssl.SSLError), peers.caller() if begin else Caller(peers.port) as caller:
                if begin:
                    caller.send(begin)
                assert caller.socket.recv(100) == b""


def test_connections_above_the_limit_are_rejected(tmp_path: Path) -> None:
    """The connections above the limit get the reason, and those below it work."""
    limit, count = (1000, 5000) if FULL else (20, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * count)), hard))
    with peers_server(tmp_path, "--max-connections", limit) as peers:
        accepted = [Caller(peers.port) for _ in range(limit)]
        assert all(caller.send(STATUS).message()["ID"] == 7 for caller in accepted)
        for _ in range(count - limit):
            with Caller(peers.port) as rejected:
                assert "too many connections" in rejected.message()["ERROR"]
        assert all(caller.send(STATUS).message()["ID"] == 7 for caller in accepted)
        for caller in accepted:
            caller.close()
        until(lambda: "REPLY" in exchange(peers.port, STATUS), "nobody is served afterwards")


def test_tls_connections_above_the_limit_are_rejected(tmp_path: Path, certificates: Certificates) -> None:
    """Above the limit, there is no TLS handshake; the connections below it work."""
    with peers_server(tmp_path, "--max-connections", 5, certificates=certificates) as peers:
        accepted = [peers.caller() for _ in range(5)]
        for _ in range(20):
            with Caller(peers.port) as rejected:
                assert rejected.socket.recv(100) == b""
        assert all(caller.send(STATUS, b"\n").message()["ID"] == 7 for caller in accepted)
        for caller in accepted:
            caller.close()


def test_browser_is_refused(peers: PeersServer) -> None:
    """A WebSocket handshake with an Origin, as a page in a browser sends it, is refused with 403."""
    with peers.caller() as caller:
        head = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://evil\r\n"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        caller.send((head + key).encode())
        assert caller.socket.recv(100).startswith(b"HTTP/1.1 403")


def test_oversized_websocket_message(tmp_path: Path) -> None:
    """A message above the limit closes its WebSocket with 1009."""
    with peers_server(tmp_path) as peers:
        with websocket(peers.port) as socket:
            socket.send("x" * 2**21)
            with pytest.raises(Exception, match="1009"):
                socket.recv(10)
        assert healthy(peers)


def test_reports_that_do_not_fit_are_refused(fresh: PeersServer) -> None:
    """A task that the worker never had is refused; one that is reported twice counts once."""
    with fresh.caller("peer_worker") as worker:
        worker.send(ALIVE, b"\n").message()
        worker.send({"STATUS": "OK", "TASK_ID": "0" * 32}, b"\n")
        assert "does not have the task" in worker.message()["ERROR"]
        (task_id,) = submit(fresh, {"TASK": "NOOP"})
        assert worker.message()["TASKS"][0]["TASK_ID"] == task_id
        for _ in range(2):  # the second one is a duplicate, and changes nothing
            worker.send({"STATUS": "OK", "TASK_ID": task_id}, b"\n")
        assert worker.send(ALIVE, b"\n").message()["TASK"] == "WELCOME"  # both are processed
    assert fresh.exchange(STATUS)["STATUS"]["tasks"]["done"] == 1


def test_report_after_the_lease_counts(tmp_path: Path) -> None:
    """The work of a worker whose lease has ended is done all the same: its report is the result of a dead task."""
    with peers_server(tmp_path, "--lease-s", "1", "--max-attempts", "1") as peers, Caller(peers.port) as worker:
        worker.send(ALIVE, b"\n").message()
        (task_id,) = submit(peers, {"TASK": "NOOP"})
        assert worker.message()["TASKS"][0]["TASK_ID"] == task_id

        def expired() -> bool:
            worker.send({**ALIVE, "TASK_IDS": []}, b"\n").message()  # it is there, but does not have the task
            return f"attempt 1 of task {task_id} failed" in peers.log()

        until(expired, "the lease does not end")
        worker.send({"STATUS": "OK", "TASK_ID": task_id}, b"\n")
        assert worker.send(ALIVE, b"\n").message()["TASK"] == "WELCOME"
        results = {"REQUEST": "RESULT", "ID": 2, "TASK_IDS": [task_id], "WAIT_S": 10}
        assert [result["STATE"] for result in peers.exchange(results)["RESULTS"]] == ["DONE"]


def test_task_of_another_worker_cannot_be_reported(fresh: PeersServer) -> None:
    """A report with the id of another worker's task is refused, and that worker's own report counts."""
    with fresh.caller("peer_worker") as holder, fresh.caller("peer_worker") as other:
        holder.send(ALIVE, b"\n").message()
        (task_id,) = submit(fresh, {"TASK": "QUERY", "USER": "11111111111"})
        assert holder.message()["TASKS"][0]["TASK_ID"] == task_id
        other.send({**ALIVE, "WORKER_UUID": "other"}, b"\n").message()
        other.send({"STATUS": "NOK", "TASK_ID": task_id, "ERROR": "stolen"}, b"\n")
        assert "does not have the task" in other.message()["ERROR"]
        holder.send({"STATUS": "OK", "TASK_ID": task_id}, b"\n")
        results = fresh.exchange({"REQUEST": "RESULT", "ID": 2, "TASK_IDS": [task_id], "WAIT_S": 10})["RESULTS"]
        assert results[0]["SALDO"] == "100.00"


def test_second_worker_of_a_name_replaces_the_first(fresh: PeersServer) -> None:
    """The newest connection of a worker counts; the tasks of the former one are handed out again."""
    with fresh.caller("peer_worker") as first, fresh.caller("peer_worker") as second:
        first.send(ALIVE, b"\n").message()
        submit(fresh, {"TASK": "NOOP"})
        task = first.message()["TASKS"][0]
        second.send(ALIVE, b"\n").message()
        assert second.message()["TASKS"] == [task]
        assert first.message() == {}
