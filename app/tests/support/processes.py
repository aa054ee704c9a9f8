"""Processes under test: started by socket activation, and read from with a timeout."""

import os
import select
import subprocess
import sys
from socket import socket
from typing import IO, Any

from support import STARTED, TIMEOUT_S

# Executes the command with the socket at the descriptor where systemd passes it, sd_listen_fds(3).
_ACTIVATE = """
import os, sys
if int(sys.argv[1]) != 3:
    os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.set_inheritable(3, True)
os.execv(sys.executable, [sys.executable, "-m", "frota", *sys.argv[2:]])
"""


def activated(listener: socket, *words: object, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a frota command with a listening socket as systemd passes it; it is killed after the test."""
    descriptor = listener.fileno()
    command = [sys.executable, "-c", _ACTIVATE, str(descriptor), *map(str, words)]
    process = subprocess.Popen(command, pass_fds=[descriptor], **options)
    STARTED.append(process)
    return process


def read_until(pipe: IO[bytes] | None, end: bytes) -> bytes:
    """Read from a pipe up to an end; fail at a timeout instead of blocking."""
    assert pipe
    received = b""
    while not received.endswith(end):
        assert select.select([pipe], [], [], TIMEOUT_S)[0], f"nothing more after {received!r}"
        received += (byte := os.read(pipe.fileno(), 1))  # unbuffered, so that select knows what is left
        assert byte, f"the output ended after {received!r}"
    return received
