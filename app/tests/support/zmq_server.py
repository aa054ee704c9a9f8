"""Support of the tests of the remote list: its server as a process, and clients that send plain messages."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import zmq

from frota.net.addresses import endpoint
from support import TIMEOUT_S, Server

Context = zmq.Context[zmq.Socket[bytes]]
CONTEXT: Context = zmq.Context()


class ListServer(Server):
    """`frota list serve` in a process of its own, its log in a file."""

    system = "list"

    host = "127.0.0.1"  # for clients

    @contextmanager
    def raw_client(self, kind: int = zmq.REQ) -> Iterator["RawClient"]:
        """Give a connected client."""
        with raw_client(self.port, kind, self.host) as client:
            yield client

    def request(self, *messages: str) -> str:  # type: ignore[override]  # text, with a response to each
        """Send legacy requests over a new connection and return the last response."""
        with self.raw_client() as client:
            return [client.request(message.encode()).decode() for message in messages][-1]

    def native(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send one native request over a new connection and return the response."""
        with self.raw_client() as client:
            return client.native(op, **fields)

    def elements(self, name: str = "default") -> list[str]:
        """Return the elements of a list."""
        elements: list[str] = self.native("show", list=name)["elements"]
        return elements


class RawClient:
    """A socket with a timeout, and the request ids of a client."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket, self.client, self.number = socket, uuid4().hex, 0

    def request(self, *frames: bytes) -> bytes:
        """Send one message and return the response."""
        self.socket.send_multipart(frames)
        return self.socket.recv_multipart()[-1]

    def native(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send one native request and return the response."""
        response: dict[str, Any] = json.loads(self.request(json.dumps({"op": op, **fields}).encode()))
        return response

    def next_id(self) -> str:
        """Return a new request id."""
        self.number += 1
        return f"{self.client}:{self.number}"


@contextmanager
def raw_client(port: int, kind: int = zmq.REQ, host: str = "127.0.0.1") -> Iterator[RawClient]:
    """Give a client that is connected to a port of this machine."""
    with CONTEXT.socket(kind) as socket:
        socket.ipv6 = ":" in host
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = int(TIMEOUT_S * 1000)
        socket.connect(f"tcp://{endpoint(host, port)}")
        yield RawClient(socket)


@contextmanager
def list_server(folder: Path, *flags: object, **options: Any) -> Iterator[ListServer]:
    """Run a server for the time of a block; check that it stops properly even after a failure."""
    running = ListServer(folder, *flags, **options)
    try:
        yield running
    finally:
        status = running.stop()
    assert status in (0, -9), running.log()
