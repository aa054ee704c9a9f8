"""More connections than the limits allow: further clients wait, and connected ones are not affected."""

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

from frota.list import keys
from support import TIMEOUT_S, run_frota
from support.processes import activated
from support.zmq_server import CONTEXT, ListServer, RawClient, list_server, raw_client

_FEW = 64  # open files
_MANY = 150  # connections
_FULL = r"connection limit of (\d+) reached, further clients wait"


def _few() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW, _FEW))


@contextmanager
def crowd(port: int, kind: int) -> Iterator[list["zmq.Socket[bytes]"]]:
    """Give many sockets that connect to a port; REQ sockets have sent a request."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(_MANY):
            requester = stack.enter_context(CONTEXT.socket(kind))
            requester.linger = 0
            requester.connect(f"tcp://127.0.0.1:{port}")
            if kind == zmq.REQ:
                requester.send(b"mostrar")
            sockets.append(requester)
        yield sockets


def _answered(sockets: list["zmq.Socket[bytes]"]) -> int:
    return sum(bool(connection.poll(0)) for connection in sockets)


def _sleeps(server: ListServer) -> bool:
    """Tell whether every thread of a server is blocked in a system call."""
    tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
    return all((task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "S" for task in tasks)


def _is_filtered(port: int) -> bool:
    """Tell whether the kernel drops connection requests; the client's kernel repeats them after a second."""
    with socket.socket() as connection:
        connection.settimeout(0.5)
        return connection.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.SUB])
def test_connected_clients_are_served_without_descriptors(tmp_path: Path, kind: int) -> None:
    """Without free descriptors, connected clients are served, and waiting ones when some leave."""
    with list_server(tmp_path, preexec_fn=_few) as server, server.raw_client() as first:
        assert server.wait_for(r"64 open files are allowed, enough for \d+ connections and not for 10000: raise")
        port = server.port if kind == zmq.REQ else first.native("info")["watch_port"]
        with crowd(port, kind) as sockets:
            server.wait_for(_FULL + r".*raise the limit of open files \(LimitNOFILE=\)")
            for number in range(20):
                assert first.request(f"append {number}".encode()) == f"Elemento '{number}' adicionado.".encode()
            assert _answered(sockets) < _FEW
            assert _is_filtered(port)
        assert len(server.elements()) == 20  # a new connection
    assert server.log().count("connection limit of") == 1


def test_full_server_is_idle_and_keeps_spare_descriptors(tmp_path: Path) -> None:
    """A server at its limit uses no CPU and keeps its spare descriptors."""
    with ExitStack() as stack, list_server(tmp_path, preexec_fn=_few) as server, server.raw_client() as first:
        stack.enter_context(crowd(server.port, zmq.REQ))
        server.wait_for(_FULL)
        for _ in range(_FEW):
            later = stack.enter_context(socket.socket())
            later.setblocking(False)
            later.connect_ex(("127.0.0.1", server.port))
        deadline, asleep = time.monotonic() + TIMEOUT_S, 0
        while asleep < 50:  # samples in a row; a busy accept loop never sleeps
            assert time.monotonic() < deadline
            asleep = asleep + 1 if _sleeps(server) else 0
        assert first.request(b"mostrar") == b"[]"
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < _FEW - 4


def test_waiting_clients_are_admitted_in_turn(tmp_path: Path) -> None:
    """Waiting clients are admitted as others leave."""
    with list_server(tmp_path, "--max-connections", 10) as server, crowd(server.port, zmq.REQ) as sockets:
        assert server.wait_for(_FULL + r".*raise LIST_MAX_CONNECTIONS")[1] == "10"
        waiting = set(sockets)
        poller = zmq.Poller()
        for requester in sockets:
            poller.register(requester, zmq.POLLIN)
        while waiting:
            ready = dict(poller.poll(int(TIMEOUT_S * 2000)))
            assert ready, f"{len(waiting)} still wait"
            for requester in waiting & set(ready):
                poller.unregister(requester)
                requester.close()
            waiting -= set(ready)
        assert server.request("mostrar") == "[]"


def test_lowered_descriptor_limit_is_respected(tmp_path: Path) -> None:
    """A limit that is lowered while the server runs is respected."""
    with list_server(tmp_path) as server, server.raw_client() as first:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (_FEW, _FEW))
        server.wait_for("64 open files are allowed")
        with crowd(server.port, zmq.REQ) as sockets:
            server.wait_for(_FULL)
            assert first.request(b"append 1") == b"Elemento '1' adicionado."
            assert _answered(sockets) < _FEW
        assert server.request("mostrar") == "['1']"


def test_curve_clients_beyond_the_limit_wait(tmp_path: Path) -> None:
    """CURVE clients beyond the limit wait, and the first one is served."""
    server_key, client_key = (keys.generate(tmp_path / f"{name}.key") for name in ("server", "client"))
    secret = keys.read_secret(tmp_path / "client.key")
    flags = ("--key-file", tmp_path / "server.key", "--clients", f"ana={client_key}", "--max-connections", 5)
    with list_server(tmp_path, *flags) as server, ExitStack() as stack:
        askers = []
        for _ in range(20):
            requester = stack.enter_context(CONTEXT.socket(zmq.REQ))
            requester.linger, requester.rcvtimeo = 0, int(TIMEOUT_S * 1000)
            requester.curve_serverkey = z85.encode(bytes.fromhex(server_key))
            requester.curve_publickey, requester.curve_secretkey = (
                z85.encode(bytes.fromhex(client_key)),
                z85.encode(secret),
            )
            requester.connect(f"tcp://127.0.0.1:{server.port}")
            askers.append(RawClient(requester))
        assert askers[0].request(b"append 1") == b"Elemento '1' adicionado."
        server.wait_for(_FULL)
        assert askers[0].request(b"append 2") == b"Elemento '2' adicionado."


def test_snapshots_work_without_free_descriptors(tmp_path: Path) -> None:
    """Changes and snapshots go on while no descriptor is free."""
    flags = ("--snapshot-bytes", 4096)
    with list_server(tmp_path, *flags, preexec_fn=_few) as server, server.raw_client() as first:
        with crowd(server.port, zmq.REQ):
            server.wait_for(_FULL)
            for number in range(300):
                assert first.native("append", value=f"{number:0100}", id=first.next_id())["ok"]
            server.wait_for("snapshot 2 written")
        server.kill()
        server.start()
        assert len(server.elements()) == 300


def test_client_names_the_connection_limit(tmp_path: Path) -> None:
    """The client's timeout message names the connection limit among the reasons."""
    with list_server(tmp_path, "--max-connections", 5) as server, crowd(server.port, zmq.REQ):
        server.wait_for(_FULL)
        done = run_frota("list", "show", "--port", server.port, "--timeout", 1)
        assert done.returncode == 1
        assert re.search(
            r"gave up after \d s: \S+ (does not answer|accepts connections).*connection limit", done.stderr
        )


def test_killed_full_server_leaves_no_filter(tmp_path: Path) -> None:
    """The next process removes the filter that a killed server left on its socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = ["list", "serve", "--state-dir", tmp_path / "state", "--max-connections", 5, "--port", port]
        log = tmp_path / "first.log"
        with log.open("wb") as file:
            first = activated(listener, *words, stderr=file)
        with crowd(port, zmq.REQ):
            deadline = time.monotonic() + TIMEOUT_S
            while b"connection limit of" not in log.read_bytes():
                assert first.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
            assert _is_filtered(port)
            first.kill()
            first.wait(TIMEOUT_S)
        second = activated(listener, *words, stderr=subprocess.DEVNULL)
        with raw_client(port) as requester:
            assert json.loads(requester.request(b'{"op": "info"}'))["ok"]
        second.terminate()
        assert second.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("files", [12, 16, 20, 24, 32, 47])
def test_too_few_descriptors_prevent_the_start(tmp_path: Path, files: int) -> None:
    """A server with too few descriptors for any client does not start, and says why."""
    done = subprocess.run(
        [sys.executable, "-m", "frota", "list", "serve", "--port", "0", "--state-dir", str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"frota: {files} open files are allowed, but 48 needed: raise the limit (ulimit -n, LimitNOFILE=)\n"
    )


@pytest.mark.parametrize("soft", [20, 64])
def test_low_soft_limit_is_raised(tmp_path: Path, soft: int) -> None:
    """A low soft limit is raised to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > 1000
    low = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    flags = ("--max-connections", 100)
    with list_server(tmp_path, *flags, preexec_fn=low) as server, crowd(server.port, zmq.REQ) as sockets:
        server.wait_for(_FULL)
        assert sum(bool(connection.poll(100)) for connection in sockets[:90]) > _FEW


def test_minimum_of_descriptors_is_enough(tmp_path: Path) -> None:
    """With the minimum of descriptors a client is served and a snapshot written."""
    low = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (48, 48))
    with list_server(tmp_path, "--snapshot-bytes", 4096, preexec_fn=low) as server, server.raw_client() as first:
        for number in range(100):
            assert first.native("append", value=f"{number:0100}", id=first.next_id())["ok"]
        server.wait_for("snapshot 2 written")


def test_connection_limit_is_exact(tmp_path: Path) -> None:
    """The configured number of connections is admitted; one that ends admits another."""
    with ExitStack() as stack:
        high = stack.enter_context(Path(os.devnull).open("rb"))
        inherited = fcntl.fcntl(high, fcntl.F_DUPFD, 250)  # a high number, which must not count as 250 descriptors
        stack.callback(os.close, inherited)
        server = stack.enter_context(list_server(tmp_path, "--max-connections", 5, pass_fds=[inherited]))
        askers = [stack.enter_context(server.raw_client()) for _ in range(5)]
        for requester in askers:
            assert requester.request(b"mostrar") == b"[]"
        server.wait_for(_FULL)
        assert _is_filtered(server.port)
        later = stack.enter_context(server.raw_client())
        later.socket.send(b"mostrar")
        assert not later.socket.poll(300)
        askers[0].socket.close()
        assert later.socket.recv() == b"[]"
        for requester in askers[1:]:
            assert requester.request(b"mostrar") == b"[]"


def test_limit_below_the_open_connections(tmp_path: Path) -> None:
    """A limit below the open connections disconnects no client."""
    with list_server(tmp_path) as server, server.raw_client() as first, crowd(server.port, zmq.REQ) as sockets:
        for connection in sockets:
            assert connection.poll(int(TIMEOUT_S * 1000))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (48, 48))
        server.wait_for("enough for \\d+ connections and not for 10000")
        server.wait_for(_FULL)
        assert first.request(b"append 1") == b"Elemento '1' adicionado."
        assert _is_filtered(server.port)
