"""The graceful shutdown of connections: the last response and the end of a connection reach the client together.

A legacy client sends its next request as soon as it has a response, and blocks forever if the connection ends after
that. ZeroMQ closes its connections some time after the responses have left. So a duplicate descriptor keeps each
connection open, and TCP_CORK (tcp(7)) is set before the last responses are sent. When ZeroMQ has written them and is
closed, the connection is shut down, and the kernel sends the buffered responses together with the FIN. The next request
then waits in the client's ZeroMQ until that has connected to the next process.

A race of some microseconds remains: a client that sends before its ZeroMQ has seen the FIN.
"""

import os
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


class Connections:
    """The connections that this process has accepted at some ports, and that are open now."""

    def __init__(self, ports: Collection[int]) -> None:
        self._sockets: list[socket.socket] = []
        entries: list[Path] = []
        with suppress(OSError):  # no descriptor left
            entries = list(Path("/proc/self/fd").iterdir())
        for entry in entries:
            with suppress(OSError):  # closed meanwhile, or no socket
                self._duplicate(int(entry.name), ports)

    def cork(self) -> None:
        """Let the kernel buffer what is sent, for 200 ms at most."""
        for connection in self._sockets:
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)

    def end(self) -> None:
        """Send the buffered responses, together with the FIN of each connection."""
        for connection in self._sockets:
            with suppress(OSError), connection:
                connection.shutdown(socket.SHUT_WR)

    def _duplicate(self, descriptor: int, ports: Collection[int]) -> None:
        connection = socket.socket(fileno=os.dup(descriptor))
        try:
            is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
            accepted = is_tcp and connection.getsockname()[1] in ports and connection.getpeername()
        except OSError:
            accepted = None
        if accepted:
            self._sockets.append(connection)
        else:
            connection.close()
