"""The legacy programs' whole conversations, byte for byte, on one server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import output, run_frota, server
from support.peers import Caller, PeersServer, exchange, websocket

_QUERY = b'{"TASK": "QUERY", "USER": "11111111111"}'
_UPDATE = b'{"TASK": "UPDATE", "CPF": "11111111111", "SALDO": 99.99}'


@contextmanager
def _serving(folder: Path, *flags: object) -> Iterator[PeersServer]:
    with server(folder, "--durable", "no", "--name", "s-1", *flags, kind=PeersServer) as running:
        assert isinstance(running, PeersServer)
        yield running


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[PeersServer]:
    with _serving(tmp_path) as running:
        yield running


def submit(peers: PeersServer, *words: object) -> str:
    """Submit a task; return its id."""
    return output("peers", "submit", *words, "--no-wait", "--host", "127.0.0.1", "--port", peers.port).strip()


def result(peers: PeersServer, task_id: str) -> dict[str, Any]:
    """Return the result of a task."""
    done = run_frota("peers", "result", task_id, "--json", "--host", "127.0.0.1", "--port", peers.port)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def query(peers: PeersServer) -> str:
    return submit(peers, "query", "--cpf", "11111111111")


def test_dialect_a_over_tcp_and_websocket(peers: PeersServer) -> None:
    """A worker of dialect A gets a task, reports it, and gets the next one, on both transports."""
    with Caller(peers.port) as worker:
        worker.send(b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}\n{"WORKER"').send(b': "ALIVE", "WORKER_UUID": "w-1"}')
    with Caller(peers.port) as worker:
        first, second = query(peers), submit(peers, "update", "--cpf", "11111111111", "--saldo", "99.99")
        worker.send(b'{"WORKER": "ALIVE"}').read(_QUERY)
        worker.send(b'{"STATUS": "OK", "SALDO": 99.99}').read(_UPDATE)
        assert result(peers, first)["saldo"] == "100.00"  # that of the account, not what the worker says
        worker.send(b'{"STATUS": "OK", "SALDO": 99.99}')
        assert result(peers, second) == {"id": second, "state": "DONE", "ok": True, "saldo": "99.99", "attempts": 0}
    with websocket(peers.port) as socket:
        socket.send('{"WORKER": "ALIVE", "WORKER_UUID": "w-2"}')
        third = query(peers)
        assert socket.recv() == _QUERY.decode()
        socket.send('{"STATUS": "NOK", "TASK": "QUERY", "ERROR": "User not found"}')
        assert result(peers, third)["error"] == "User not found"


def test_dialect_a_heartbeat_and_worker_request(tmp_path: Path) -> None:
    """A server of dialect A gets the heartbeat's answer, and ACK with the workers or NACK."""
    request = {"TASK": "WORKER_REQUEST", "WORKERS_NEEDED": 5}
    flags = ("--peers", "127.0.0.1:1", "--calm-s", "0", "--expected-service-s", "0.0001")
    with _serving(tmp_path, *flags) as peers, Caller(peers.port) as peer, Caller(peers.port) as worker:
        peer.send({"SERVER": "ALIVE", "TASK": "REQUEST"}).read(b'{"SERVER": "ALIVE", "TASK": "RECIEVE"}')
        peer.send(request).read(b'{"TASK": "WORKER_RESPONSE", "STATUS": "NACK", "WORKERS": []}')
        worker.send(b'{"WORKER": "ALIVE", "WORKER_UUID": "w-1"}')
        peers.wait_for("worker w-1 of s-1 has connected")
        while (answer := peer.send(request).message())["STATUS"] == "NACK":
            pass
        wanted = '{"TASK": "WORKER_RESPONSE", "STATUS": "ACK", "MASTER": "s-1", "WORKERS": [{"WORKER_UUID": "w-1"}]}'
        assert json.dumps(answer) == wanted
        redirect = worker.message()
        assert list(redirect) == ["TASK", "TARGET_MASTER", "HOME_MASTER", "FAILOVER_LIST"]
        assert redirect["TARGET_MASTER"] == {"IP": "127.0.0.1", "PORT": 1}
        assert redirect["HOME_MASTER"] == {"IP": "127.0.0.1", "PORT": peers.port}


def test_dialect_b(peers: PeersServer) -> None:
    """A worker of dialect B keeps one connection without newlines; every report is answered by the next task."""
    with Caller(peers.port) as worker:
        worker.send({"WORKER": "ALIVE", "WORKER_ID": "b-1"})
        assert worker.quiet()
        first = query(peers)
        worker.read(_QUERY)
        second = query(peers)
        assert worker.quiet()
        worker.send({"STATUS": "OK", "SALDO": 512, "USER": "11111111111", "WORKER_ID": "b-1"}).read(_QUERY)
        worker.send({"STATUS": "NOK", "TASK": "QUERY", "ERROR": "User not found", "WORKER_ID": "b-1"})
        assert result(peers, first)["saldo"] == "100.00"
        assert result(peers, second)["error"] == "User not found"
        assert worker.quiet()
    with Caller(peers.port) as peer:
        peer.send({"SERVER_ID": "p", "TASK": "HEARTBEAT"}).read(
            b'{"SERVER_ID": "p", "TASK": "HEARTBEAT", "RESPONSE": "ALIVE"}'
        )
        peer.send({"MASTER": "p", "TASK": "WORKER_REQUEST"})
        assert peer.message() == {"MASTER": "s-1", "RESPONSE": "UNAVAILABLE", "WORKERS": []}


def test_dialect_c(peers: PeersServer) -> None:
    """In dialect C each exchange is a connection; the holder of a task is known by its UUID alone."""
    alive = {"WORKER": "ALIVE", "WORKER_UUID": "c-1"}
    assert exchange(peers.port, alive) == {"TASK": "NO_TASK"}
    first = query(peers)
    with Caller(peers.port) as worker:
        worker.send(alive, b"\n").read(_QUERY + b"\n")
    report = {"STATUS": "OK", "TASK": "QUERY", "WORKER_UUID": "c-1"}
    with Caller(peers.port) as worker:
        worker.send(report, b"\n").read(b'{"STATUS": "ACK"}\n')
    assert result(peers, first)["saldo"] == "100.00"
    again = exchange(peers.port, report)
    assert again["STATUS"] == "NOK"
    assert "has no task" in again["ERROR"]
    heartbeat = {"SERVER_UUID": "p", "TASK": "HEARTBEAT"}
    assert exchange(peers.port, heartbeat) == {**heartbeat, "RESPONSE": "ALIVE"}


def test_dialect_c_lends_and_takes_back(tmp_path: Path) -> None:
    """A peer of dialect C asks for workers, whose next ALIVE is answered by the redirect, and gives them back."""
    info = {"ip": "127.0.0.1", "port": 1}
    with _serving(tmp_path, "--peers", "127.0.0.1:1/C", "--calm-s", "0") as peers:
        alive = {"WORKER": "ALIVE", "WORKER_UUID": "c-1"}
        assert exchange(peers.port, alive) == {"TASK": "NO_TASK"}
        request = {"TASK": "WORKER_REQUEST", "REQUESTOR_INFO": info}
        while (answer := exchange(peers.port, request))["RESPONSE"] == "UNAVAILABLE":
            pass
        assert answer == {"SERVER_UUID": "s-1", "RESPONSE": "AVAILABLE", "WORKERS_UUID": ["c-1"]}
        assert exchange(peers.port, alive) == {"TASK": "REDIRECT", "SERVER_REDIRECT": info}
        release = {"SERVER_UUID": "p", "TASK": "COMMAND_RELEASE", "WORKERS_UUID": ["c-1"]}
        answer = exchange(peers.port, release)
        assert answer == {"SERVER_UUID": "s-1", "RESPONSE": "RELEASE_ACK", "WORKERS_UUID": ["c-1"]}
        assert exchange(peers.port, alive) == {"TASK": "NO_TASK"}
