"""A native server, workers and client in processes of their own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import FULL, TIMEOUT_S, output, run_frota, server, start_frota, until
from support.peers import Caller, PeersServer

_FLAGS = ("--durable", "no", "--log-tasks-per-second", "0")


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[PeersServer]:
    with server(tmp_path, *_FLAGS, "--max-attempts", "3", kind=PeersServer) as running:
        assert isinstance(running, PeersServer)
        yield running


def start_worker(peers: PeersServer, name: str, *flags: object) -> "subprocess.Popen[bytes]":
    folder = peers.state.parent / name
    words = ("peers", "work", "--port", peers.port, "--name", name, "--state-dir", folder, *flags)
    return start_frota(*words, stderr=subprocess.DEVNULL)


def status(peers: PeersServer) -> dict[str, dict[str, int]]:
    text = output("peers", "status", "--json", "--port", peers.port, "--host", "127.0.0.1")
    found: dict[str, dict[str, int]] = json.loads(text)
    return found


def test_four_workers_execute_thousands_of_tasks(peers: PeersServer) -> None:
    """Every one of thousands of tasks has its result, and each is executed once."""
    count = 10_000 if FULL else 3_000
    for number in range(4):
        start_worker(peers, f"w{number}", "--transport", "tcp" if number % 2 else "websocket")
    until(lambda: status(peers)["workers"]["own_here"] == 4, "not all workers have arrived")
    lines = output("peers", "submit", "noop", "--count", count, "--port", peers.port, "--json").splitlines()
    results = [json.loads(line) for line in lines]
    assert len({result["id"] for result in results}) == count
    assert all(result["ok"] and result["attempts"] == 0 for result in results)
    assert status(peers)["tasks"] == {"submitted": count, "done": count, "failed_attempts": 0}


def test_watch_continues_after_a_restart(peers: PeersServer, tmp_path: Path) -> None:
    """`status --watch` says that the server is unavailable, and shows it again once it runs."""
    shown, errors = tmp_path / "shown", tmp_path / "errors"
    words = ("peers", "status", "--watch", "--interval", "0.05", "--json", "--host", f"127.0.0.1:{peers.port}")
    with shown.open("wb") as stdout, errors.open("wb") as stderr:
        start_frota(*words, stdout=stdout, stderr=stderr)
    until(shown.read_text, "nothing is shown")
    peers.kill()
    until(lambda: f"no peers' server at 127.0.0.1:{peers.port}" in errors.read_text(), errors.read_text)
    before = len(shown.read_text().splitlines())
    peers.start()
    until(lambda: len(shown.read_text().splitlines()) > before, errors.read_text)
    assert [json.loads(line)["tasks"]["done"] for line in shown.read_text().splitlines()][-1] == 0


def test_tasks_of_a_killed_worker_are_redelivered(peers: PeersServer) -> None:
    """The tasks of a worker that dies are executed by another one, each with one result."""
    with Caller(peers.port) as dying:
        dying.send({"WORKER": "ALIVE", "WORKER_UUID": "dying", "CAPACITY": 10}, b"\n")
        assert dying.message()["TASK"] == "WELCOME"
        ids = output("peers", "submit", "noop", "--count", 20, "--no-wait", "--port", peers.port).split()
        assert len(dying.message()["TASKS"]) == 10
    start_worker(peers, "w")
    lines = output("peers", "result", *ids, "--json", "--port", peers.port).splitlines()
    results = [json.loads(line) for line in lines]
    assert [result["id"] for result in results] == ids
    assert all(result["ok"] for result in results)
    assert sorted(result["attempts"] for result in results) == [0] * 10 + [1] * 10


def test_a_killed_worker_process_loses_nothing(peers: PeersServer) -> None:
    """Killing a worker with SIGKILL under load loses no task."""
    victim, _ = start_worker(peers, "victim"), start_worker(peers, "w")
    until(lambda: status(peers)["workers"]["own_here"] == 2, "not all workers have arrived")
    ids = output("peers", "submit", "noop", "--count", 2000, "--no-wait", "--port", peers.port).split()
    os.kill(victim.pid, signal.SIGKILL)
    done = run_frota("peers", "result", *ids[:1000], "--json", "--port", peers.port)
    assert done.returncode == 0
    until(lambda: status(peers)["tasks"]["done"] == 2000, "not all tasks are done")


def test_task_that_kills_its_workers_ends_in_the_dead_list(peers: PeersServer) -> None:
    """After --max-attempts a task is dead, and can be retried or dropped."""
    task_id = output("peers", "submit", "noop", "--no-wait", "--port", peers.port).strip()
    for number in range(3):
        with Caller(peers.port) as worker:
            worker.send({"WORKER": "ALIVE", "WORKER_UUID": f"w{number}", "CAPACITY": 1}, b"\n").message()
            assert [task["TASK_ID"] for task in worker.message()["TASKS"]] == [task_id]
    dead = json.loads(output("peers", "dead", "list", "--json", "--port", peers.port))
    assert (dead["id"], dead["attempts"]) == (task_id, 3)
    assert output("peers", "dead", "retry", task_id, "--port", peers.port).strip() == task_id
    start_worker(peers, "w")
    assert json.loads(output("peers", "result", task_id, "--json", "--port", peers.port))["ok"]
    assert run_frota("peers", "dead", "drop", task_id, "--port", peers.port).returncode == 1


def test_worker_stops_within_five_seconds(peers: PeersServer) -> None:
    """SIGTERM ends a worker with status 0, and its tasks go back without a failed attempt."""
    worker = start_worker(peers, "w")
    until(lambda: status(peers)["workers"]["own_here"] == 1, "the worker has not arrived")
    begun = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(TIMEOUT_S) == 0
    assert time.monotonic() - begun < 5
    until(lambda: status(peers)["workers"]["own_here"] == 0, "the worker has not left")


def test_worker_keeps_its_id(peers: PeersServer, tmp_path: Path) -> None:
    """A worker without a name has a UUID in its state folder, which a restart keeps."""
    for _ in range(2):
        worker = start_worker(peers, "")
        until(lambda: status(peers)["workers"]["own_here"] == 1, "the worker has not arrived")
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(TIMEOUT_S) == 0
        until(lambda: status(peers)["workers"]["own_here"] == 0, "the worker has not left")
    assert status(peers)["workers"]["own"] == 1
    assert (tmp_path / "worker_id").exists()


def test_server_stop_answers_what_waits(peers: PeersServer) -> None:
    """SIGTERM answers a request that waits for a result, then ends with status 0."""
    with Caller(peers.port) as client:
        client.send({"REQUEST": "SUBMIT", "ID": 1, "TASKS": [{"TASK": "NOOP"}]}, b"\n")
        task_id = client.message()["TASKS"][0]
        client.send({"REQUEST": "RESULT", "ID": 2, "TASK_IDS": [task_id], "WAIT_S": 30}, b"\n")
        assert client.quiet()
        begun = time.monotonic()
        assert peers.stop() == 0
        assert time.monotonic() - begun < 5
        assert client.message()["REPLY"] == "ERROR"


def test_worker_locks_its_state_folder(peers: PeersServer, tmp_path: Path) -> None:
    """A second worker with the state folder, and so the id, of another one is refused."""
    words = ("peers", "work", "--port", peers.port, "--state-dir", tmp_path / "same")
    start_frota(*words, stderr=subprocess.DEVNULL)
    until(lambda: status(peers)["workers"]["own_here"] == 1, "the worker has not arrived")
    second = run_frota(*words)
    assert second.returncode == 1
    assert "is in use by process" in second.stderr


def test_workers_with_one_id_back_off(peers: PeersServer, tmp_path: Path) -> None:
    """Two workers that replace each other do so more and more slowly."""
    words = ("peers", "work", "--port", peers.port, "--name", "same", "--max-backoff-s", 3600)
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    for path in logs:
        with path.open("wb") as log:
            start_frota(*words, stderr=log)

    def connects() -> int:
        return sum(path.read_text(encoding="utf-8").count("its owner") for path in logs)

    until(lambda: connects() >= 4, "they do not meet")
    assert status(peers)["workers"]["own"] == 1  # a process that starts: without backoff, hundreds of connects
    assert connects() < 20
