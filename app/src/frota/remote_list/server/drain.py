"""The end of the server's connections: the last answer and the end of the connection reach each client together.

A client of the original's asks again as soon as it is answered, and waits for ever if the connection ends after that.
ZeroMQ closes its connections some time after the answers have left. So each one is held open by a descriptor of our own
and corked (tcp(7), TCP_CORK) before the last answers are sent; once ZeroMQ has written them and is gone, the connection
is shut down, and the kernel sends what it held back and the end of the connection in one go. The next request then
waits in the client's ZeroMQ until it has connected to the next process.

What is left is a client whose own ZeroMQ does not get to see the end before its next request, within some microseconds.
"""

import os
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


class Connections:
    """Those that this process has accepted at some of its ports, and that are there now."""

    def __init__(self, ports: Collection[int]) -> None:
        self._sockets: list[socket.socket] = []
        entries: list[Path] = []
        with suppress(OSError):  # not even a descriptor to look with
            entries = list(Path("/proc/self/fd").iterdir())
        for entry in entries:
            with suppress(OSError):  # gone meanwhile, or no connection
                self._duplicate(int(entry.name), ports)

    def cork(self) -> None:
        """Let the kernel keep back what is sent; it does so for 200 ms at most."""
        for connection in self._sockets:
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)

    def end(self) -> None:
        """Send what was kept back, and with it the end of each connection."""
        for connection in self._sockets:
            with suppress(OSError), connection:
                connection.shutdown(socket.SHUT_WR)

    def _duplicate(self, descriptor: int, ports: Collection[int]) -> None:
        connection = socket.socket(fileno=os.dup(descriptor))
        try:
            accepted = (
                connection.family in (socket.AF_INET, socket.AF_INET6)
                and connection.getsockname()[1] in ports
                and connection.getpeername()
            )
        except OSError:
            accepted = None
        if accepted:
            self._sockets.append(connection)
        else:
            connection.close()
