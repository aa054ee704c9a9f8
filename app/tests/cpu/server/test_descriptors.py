"""A server with few open files accepts fewer connections and tells the others why."""

import json
import resource
import socket
from contextlib import ExitStack
from pathlib import Path

from support import TIMEOUT_S, read_all, until
from support.metrics import metrics_server

FEW = 160


def few() -> None:
    """Allow this process few open files, and no more ever."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))


def test_low_file_limit_bounds_connections(tmp_path: Path) -> None:
    """With few open files the server accepts fewer connections and tells the others why."""
    with metrics_server(tmp_path, preexec_fn=few) as server, ExitStack() as stack, server.agent() as agent:
        server.wait_for(f"for 10000 connections .CPU_MAX_CONNECTIONS.: at most {FEW - 64} are accepted")
        connections = [stack.enter_context(server.connect()) for _ in range(FEW - 65)]
        for _ in range(500):
            with server.connect() as refused:
                assert json.loads(read_all(refused))["error"].startswith("servidor cheio")
        server.wait_for(f"all {FEW - 64} connections are in use, new ones are rejected")
        agent.send(1)
        agent.wait(1)
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < FEW
        connections[0].close()
        until(server.hosts, "there is no place again")


def test_flood_of_connections_leaves_agents_served(tmp_path: Path) -> None:
    """Agents are served while a flood of connections reads nothing."""
    with metrics_server(tmp_path, preexec_fn=few) as server, ExitStack() as stack, server.agent() as agent:
        for _ in range(3 * FEW):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
        agent.connection.settimeout(TIMEOUT_S)
        for number in range(1, 30):
            agent.send(number)
            agent.wait(number)
        assert server.wait_for("new ones are rejected")


def test_exhausted_descriptors_are_logged(tmp_path: Path) -> None:
    """Without a free descriptor the server logs it and serves the connected agents."""
    with metrics_server(tmp_path) as server, ExitStack() as stack, server.agent() as agent:
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 3, limits[1]))
        for _ in range(30):
            stack.enter_context(server.connect())
        server.wait_for("no file descriptor is left, new connections are closed")
        agent.send(1)
        agent.wait(1)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
        assert "web-1" in until(server.hosts, "no client is served again")
