"""A fake metrics server for tests of the agent: it receives and sends line by line, as the test requires."""

import json
import socket
from typing import Any, Self

from support import TIMEOUT_S


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        self.socket = connection
        self._file = connection.makefile("rb")

    def receive(self) -> dict[str, Any]:
        """Return the next message; an empty one if the agent has closed the connection."""
        line = self._file.readline()
        message: dict[str, Any] = json.loads(line) if line else {}
        return message

    def hello(self, last: int | None = 0) -> dict[str, Any]:
        """Receive a hello; answer it with `last`, unless that is None."""
        hello: dict[str, Any] = self.receive()["hello"]
        if last is not None:
            self.send(last=last)
        return hello

    def sample(self, *, ack: bool = False) -> dict[str, Any]:
        """Receive a sample; acknowledge it with `ack`."""
        sample = self.receive()
        assert "n" in sample, sample
        if ack:
            self.send(ack=sample["n"])
        return sample

    def send(self, **fields: object) -> None:
        """Send a message."""
        self.socket.sendall(json.dumps({"frota": 1, **fields}).encode() + b"\n")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.socket.close()


class FakeServer:
    """Listens on loopback; after a stop another one can listen on the same port."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(TIMEOUT_S)
        self.port: int = self._listener.getsockname()[1]
        self._peers: list[Peer] = []

    def fileno(self) -> int:
        """Return the descriptor of the listening socket."""
        return self._listener.fileno()

    def accept(self) -> Peer:
        """Wait for the agent to connect."""
        peer = Peer(self._listener.accept()[0])
        self._peers.append(peer)
        return peer

    def stop(self) -> None:
        """Close all sockets."""
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
