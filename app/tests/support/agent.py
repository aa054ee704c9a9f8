"""A small server for tests of the agent: it does what the test says, line by line."""

import json
import socket
from typing import Any, Self

from support import PATIENCE


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        self._file = connection.makefile("rb")

    def line(self) -> dict[str, Any]:
        """Return the next line; an empty one where the agent has closed."""
        read = self._file.readline()
        found: dict[str, Any] = json.loads(read) if read else {}
        return found

    def hello(self, last: int | None = 0) -> dict[str, Any]:
        """Take a hello and answer it, unless `last` is None."""
        found: dict[str, Any] = self.line()["hello"]
        if last is not None:
            self.say(last=last)
        return found

    def sample(self, *, ack: bool = False) -> dict[str, Any]:
        """Take a sample, and acknowledge it."""
        found = self.line()
        assert "n" in found, found
        if ack:
            self.say(ack=found["n"])
        return found

    def say(self, **answer: object) -> None:
        """Send a line."""
        self.socket.sendall(json.dumps({"frota": 1, **answer}).encode() + b"\n")

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self.socket.close()


class FakeServer:
    """Listens on loopback; the same port again after a stop."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self._peers: list[Peer] = []

    def fileno(self) -> int:
        """Return the descriptor of the listening socket."""
        return self._listener.fileno()

    def accept(self) -> Peer:
        """Wait for the agent."""
        peer = Peer(self._listener.accept()[0])
        self._peers.append(peer)
        return peer

    def stop(self) -> None:
        """End everything."""
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
