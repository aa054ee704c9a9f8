"""A server with few open files accepts fewer connections and tells the others why."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import READING, RESPONSE, read_all, read_exactly, server


@pytest.mark.parametrize(("files", "most"), [(60, 30), (160, 96)])
def test_low_file_limit_bounds_connections(tmp_path: Path, files: int, most: int) -> None:
    """With few open files the server accepts fewer connections and tells the others why."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with server(tmp_path, preexec_fn=few) as running, ExitStack() as stack:
        running.wait_for(rf"for 1000 connections \(SENSORS_MAX_CONNECTIONS\): at most {most} are accepted")
        connections = [stack.enter_context(running.connect()) for _ in range(2 * files)]
        for refused in connections[most:]:
            assert read_all(refused).startswith(b"Erro: servidor cheio")
        running.wait_for("servidor cheio")
        connections[0].sendall(READING)
        assert read_exactly(connections[0], len(RESPONSE)) == RESPONSE
        assert len(list(Path(f"/proc/{running.process.pid}/fd").iterdir())) < files
        connections[1].shutdown(socket.SHUT_WR)
        assert read_all(connections[1]) == b""
        assert running.request(READING) == RESPONSE
