"""What the tests of the remote list need: its server as a process, and clients as plain as can be."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import zmq

from frota.net.addresses import endpoint
from support import PATIENCE, Server

Context = zmq.Context[zmq.Socket[bytes]]
CONTEXT: Context = zmq.Context()


class ListServer(Server):
    """`frota list serve` in a process of its own, its log in a file."""

    system = "list"

    host = "127.0.0.1"  # to speak with it

    @contextmanager
    def asking(self, kind: int = zmq.REQ) -> Iterator["Asker"]:
        """Give a connected socket."""
        with connected(self.port, kind, self.host) as asker:
            yield asker

    def ask(self, *messages: str) -> str:  # type: ignore[override]  # words, not bytes, and each has its answer
        """Send requests of the original's over a new connection and return the last answer."""
        with self.asking() as asker:
            return [asker.ask(message.encode()).decode() for message in messages][-1]

    def native(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send one native request over a new connection and return the answer."""
        with self.asking() as asker:
            return asker.native(op, **fields)

    def elements(self, name: str = "default") -> list[str]:
        """Return what a list holds."""
        found: list[str] = self.native("show", list=name)["elements"]
        return found


class Asker:
    """A socket that fails rather than waits for ever; numbers its changes as a client does."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket, self.client, self.number = socket, uuid4().hex, 0

    def ask(self, *frames: bytes) -> bytes:
        """Send one message and return the answer."""
        self.socket.send_multipart(frames)
        return self.socket.recv_multipart()[-1]

    def native(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send one native request and return the answer."""
        answer: dict[str, Any] = json.loads(self.ask(json.dumps({"op": op, **fields}).encode()))
        return answer

    def next_id(self) -> str:
        """Return an id that was not used yet."""
        self.number += 1
        return f"{self.client}:{self.number}"


@contextmanager
def connected(port: int, kind: int = zmq.REQ, host: str = "127.0.0.1") -> Iterator[Asker]:
    """Give a socket that is connected to a port of this machine."""
    with CONTEXT.socket(kind) as socket:
        socket.ipv6 = ":" in host
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = int(PATIENCE * 1000)
        socket.connect(f"tcp://{endpoint(host, port)}")
        yield Asker(socket)


@contextmanager
def list_server(folder: Path, *flags: object, **options: Any) -> Iterator[ListServer]:
    """Run a server for the time of a block; whatever happened, it must still be able to end properly."""
    running = ListServer(folder, *flags, **options)
    try:
        yield running
    finally:
        status = running.stop()
    assert status in (0, -9), running.log()
