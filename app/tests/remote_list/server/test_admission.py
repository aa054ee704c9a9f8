"""More connections than there may be, or than there are descriptors for: they wait, and nobody else is harmed."""

import fcntl
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from frota.remote_list import keys
from support import PATIENCE, ran
from support.zmq_server import CONTEXT, Asker, ListServer, list_server

_FEW = 64  # open files
_MANY = 150  # connections
_FULL = r"connection limit of (\d+) reached, further clients wait"


def _few() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW, _FEW))


@contextmanager
def crowd(port: int, kind: int) -> Iterator[list["zmq.Socket[bytes]"]]:
    """Give many sockets that connect to a port, those with something to ask for having asked."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(_MANY):
            one = stack.enter_context(CONTEXT.socket(kind))
            one.linger = 0
            one.connect(f"tcp://127.0.0.1:{port}")
            if kind == zmq.REQ:
                one.send(b"mostrar")
            sockets.append(one)
        yield sockets


def _answered(sockets: list["zmq.Socket[bytes]"]) -> int:
    return sum(bool(one.poll(0)) for one in sockets)


def _sleeps(server: ListServer) -> bool:
    """Tell whether every thread of a server waits for something."""
    tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
    return all((task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "S" for task in tasks)


def _is_filtered(port: int) -> bool:
    """Tell whether the kernel drops a request to connect; whether it does is known long before it is repeated."""
    with socket.socket() as one:
        one.settimeout(0.5)
        return one.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.SUB])
def test_without_descriptors_those_who_are_connected_are_served_and_the_others_when_some_leave(
    tmp_path: Path, kind: int
) -> None:
    with list_server(tmp_path, preexec_fn=_few) as server, server.asking() as first:
        assert server.wait_for(r"64 open files are allowed, enough for \d+ connections and not for 10000: raise")
        port = server.port if kind == zmq.REQ else first.native("info")["watch_port"]
        with crowd(port, kind) as sockets:
            server.wait_for(_FULL + r".*raise the limit of open files \(LimitNOFILE=\)")
            for number in range(20):
                assert first.ask(f"append {number}".encode()) == f"Elemento '{number}' adicionado.".encode()
            assert _answered(sockets) < _FEW
            assert _is_filtered(port)
        assert len(server.elements()) == 20  # a new connection
    assert server.log().count("connection limit of") == 1


def test_a_server_that_is_full_neither_spins_nor_loses_its_spare_descriptors(tmp_path: Path) -> None:
    with ExitStack() as stack, list_server(tmp_path, preexec_fn=_few) as server, server.asking() as first:
        stack.enter_context(crowd(server.port, zmq.REQ))
        server.wait_for(_FULL)
        for _ in range(_FEW):
            later = stack.enter_context(socket.socket())
            later.setblocking(False)
            later.connect_ex(("127.0.0.1", server.port))
        deadline, asleep = time.monotonic() + PATIENCE, 0
        while asleep < 50:  # samples in a row; what tries to accept again and again never sleeps
            assert time.monotonic() < deadline
            asleep = asleep + 1 if _sleeps(server) else 0
        assert first.ask(b"mostrar") == b"[]"
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < _FEW - 4


def test_those_who_wait_are_let_in_one_after_the_other(tmp_path: Path) -> None:
    with list_server(tmp_path, "--max-connections", 10) as server, crowd(server.port, zmq.REQ) as sockets:
        assert server.wait_for(_FULL + r".*raise REMOTE_LIST_MAX_CONNECTIONS")[1] == "10"
        left = set(sockets)
        poller = zmq.Poller()
        for one in sockets:
            poller.register(one, zmq.POLLIN)
        while left:
            ready = dict(poller.poll(int(PATIENCE * 2000)))
            assert ready, f"{len(left)} are still waiting"
            for one in left & set(ready):
                poller.unregister(one)
                one.close()
            left -= set(ready)
        assert server.ask("mostrar") == "[]"


def test_a_limit_that_is_lowered_while_the_server_runs_is_kept_to(tmp_path: Path) -> None:
    with list_server(tmp_path) as server, server.asking() as first:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (_FEW, _FEW))
        server.wait_for("64 open files are allowed")
        with crowd(server.port, zmq.REQ) as sockets:
            server.wait_for(_FULL)
            assert first.ask(b"append 1") == b"Elemento '1' adicionado."
            assert _answered(sockets) < _FEW
        assert server.ask("mostrar") == "['1']"


def test_curve_clients_beyond_the_limit_wait_as_well(tmp_path: Path) -> None:
    server_key, client_key = (keys.generate(tmp_path / f"{name}.key") for name in ("server", "client"))
    secret = keys.read_secret(tmp_path / "client.key")
    flags = ("--key-file", tmp_path / "server.key", "--clients", f"ana={client_key}", "--max-connections", 5)
    with list_server(tmp_path, *flags) as server, ExitStack() as stack:
        askers = []
        for _ in range(20):
            one = stack.enter_context(CONTEXT.socket(zmq.REQ))
            one.linger, one.rcvtimeo = 0, int(PATIENCE * 1000)
            one.curve_serverkey = z85.encode(bytes.fromhex(server_key))
            one.curve_publickey, one.curve_secretkey = z85.encode(bytes.fromhex(client_key)), z85.encode(secret)
            one.connect(f"tcp://127.0.0.1:{server.port}")
            askers.append(Asker(one))
        assert askers[0].ask(b"append 1") == b"Elemento '1' adicionado."
        server.wait_for(_FULL)
        assert askers[0].ask(b"append 2") == b"Elemento '2' adicionado."


def test_changes_and_snapshots_go_on_while_there_is_no_descriptor(tmp_path: Path) -> None:
    flags = ("--snapshot-bytes", 4096)
    with list_server(tmp_path, *flags, preexec_fn=_few) as server, server.asking() as first:
        with crowd(server.port, zmq.REQ):
            server.wait_for(_FULL)
            for number in range(300):
                assert first.native("append", value=f"{number:0100}", id=first.next_id())["ok"]
            server.wait_for("snapshot 2 holds everything before it")
        server.kill()
        server.start()
        assert len(server.elements()) == 300


def test_a_client_that_gives_up_on_a_full_server_names_that_among_the_reasons(tmp_path: Path) -> None:
    with list_server(tmp_path, "--max-connections", 5) as server, crowd(server.port, zmq.REQ):
        server.wait_for(_FULL)
        done = ran("list", "show", "--port", server.port, "--patience", 1)
        assert done.returncode == 1
        assert re.search(r"gave up after \d s: \S+ (does not answer|takes connections).*no room for more", done.stderr)


def test_a_full_server_that_is_killed_leaves_no_deaf_socket_to_the_next(tmp_path: Path) -> None:
    words = ["-m", "frota", "list", "serve", "--state-dir", str(tmp_path / "state"), "--max-connections", "5"]
    code = """
import os, sys
if int(sys.argv[1]) != 3:
    os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.set_inheritable(3, True)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", code, str(listener.fileno()), *words, "--port", str(port)]
        with subprocess.Popen(command, pass_fds=[listener.fileno()], stderr=subprocess.PIPE) as first:
            assert first.stderr
            try:
                with crowd(port, zmq.REQ):
                    while b"connection limit of" not in (line := first.stderr.readline()):
                        assert line, "the server has ended"
                    assert _is_filtered(port)
            finally:
                first.kill()
        with subprocess.Popen(command, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL) as second:
            with CONTEXT.socket(zmq.REQ) as one:
                one.linger = 0
                one.connect(f"tcp://127.0.0.1:{port}")
                one.send(b'{"op": "info"}')
                assert one.poll(int(PATIENCE * 1000))
                assert json.loads(one.recv())["ok"]
            second.terminate()
            assert second.wait(PATIENCE) == 0


@pytest.mark.parametrize("files", [12, 16, 20, 24, 32, 47])
def test_a_server_that_could_serve_nobody_does_not_start_and_says_why(tmp_path: Path, files: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "frota", "list", "serve", "--port", "0", "--state-dir", str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"frota: {files} open files are allowed, but 48 needed: raise the limit (ulimit -n, LimitNOFILE=)\n"
    )


@pytest.mark.parametrize("soft", [20, 64])
def test_a_low_soft_limit_is_raised(tmp_path: Path, soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > 1000
    low = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    flags = ("--max-connections", 100)
    with list_server(tmp_path, *flags, preexec_fn=low) as server, crowd(server.port, zmq.REQ) as sockets:
        server.wait_for(_FULL)
        assert sum(bool(one.poll(100)) for one in sockets[:90]) > _FEW


def test_the_least_that_is_allowed_is_enough_for_some(tmp_path: Path) -> None:
    low = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (48, 48))
    with list_server(tmp_path, "--snapshot-bytes", 4096, preexec_fn=low) as server, server.asking() as first:
        for number in range(100):
            assert first.native("append", value=f"{number:0100}", id=first.next_id())["ok"]
        server.wait_for("snapshot 2 holds everything before it")


def test_there_are_as_many_connections_as_are_configured_and_one_that_ends_lets_one_in(tmp_path: Path) -> None:
    with ExitStack() as stack:
        high = stack.enter_context(Path(os.devnull).open("rb"))
        inherited = fcntl.fcntl(high, fcntl.F_DUPFD, 250)  # by which numbers say less than how many there are
        stack.callback(os.close, inherited)
        server = stack.enter_context(list_server(tmp_path, "--max-connections", 5, pass_fds=[inherited]))
        askers = [stack.enter_context(server.asking()) for _ in range(5)]
        for asker in askers:
            assert asker.ask(b"mostrar") == b"[]"
        server.wait_for(_FULL)
        assert _is_filtered(server.port)
        later = stack.enter_context(server.asking())
        later.socket.send(b"mostrar")
        assert not later.socket.poll(300)
        askers[0].socket.close()
        assert later.socket.recv() == b"[]"
        for asker in askers[1:]:
            assert asker.ask(b"mostrar") == b"[]"


def test_a_limit_below_what_is_in_use_ends_nobody(tmp_path: Path) -> None:
    with list_server(tmp_path) as server, server.asking() as first, crowd(server.port, zmq.REQ) as sockets:
        for one in sockets:
            assert one.poll(int(PATIENCE * 1000))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (48, 48))
        server.wait_for("0 connections are there|enough for \\d+ connections and not for 10000")
        server.wait_for(_FULL)
        assert first.ask(b"append 1") == b"Elemento '1' adicionado."
        assert _is_filtered(server.port)
