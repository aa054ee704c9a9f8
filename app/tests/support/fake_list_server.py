"""A list server that the test controls: its responses, its disconnects and its restarts."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from support import TIMEOUT_S

Handler = Callable[[bytes], list[bytes]]  # a request to any number of responses
DISCONNECT = b"\0disconnect"  # instead of a response: closes all connections, and accepts new ones at once


def response_to(request: bytes, **fields: Any) -> bytes:
    """Return a native response to a request, with other values for some fields."""
    defaults = {
        "id": json.loads(request)["id"],
        "ok": True,
        "text": "Feito.",
        "list": "default",
        "length": 1,
        "version": 1,
    }
    return json.dumps(defaults | fields).encode()


class FakeListServer:
    """The server; `received` has the sender and the text of each request."""

    def __init__(self, handle: Handler, port: int, secret: bytes) -> None:
        self.received: list[tuple[bytes, bytes]] = []
        self._handle, self._secret = handle, secret
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._bound(port)
        self.port = int(_endpoint(self._router).rpartition(":")[2])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop it and close all its connections."""
        self._context.term()
        self._thread.join(TIMEOUT_S)

    def _bound(self, port: int) -> "zmq.Socket[bytes]":
        router = self._context.socket(zmq.ROUTER)
        router.linger = 0
        if self._secret:
            router.curve_server, router.curve_secretkey = True, self._secret
        router.bind(f"tcp://127.0.0.1:{port or '*'}")
        return router

    def _serve(self) -> None:
        try:
            while True:
                self._respond()
        except zmq.ContextTerminated:
            self._router.close(0)

    def _respond(self) -> None:
        sender, _, request = self._router.recv_multipart()
        self.received.append((sender, request))
        for response in self._handle(request):
            if response == DISCONNECT:
                self._router.unbind(_endpoint(self._router))
                self._router.close(1000)  # ms, for the responses before
                self._router = self._rebound()
            else:
                self._router.send_multipart([sender, b"", response])

    def _rebound(self) -> "zmq.Socket[bytes]":
        while True:  # ZeroMQ closes the former socket later, in a thread of its own
            try:
                return self._bound(self.port)
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE:
                    raise


def _endpoint(router: "zmq.Socket[bytes]") -> str:
    address = router.get(zmq.LAST_ENDPOINT)
    assert isinstance(address, bytes)
    return address.decode().rstrip("\0")


@contextmanager
def fake_list_server(handle: Handler, port: int = 0, secret: bytes = b"") -> Iterator[FakeListServer]:
    """Run a fake server for the time of a block."""
    server = FakeListServer(handle, port, secret)
    try:
        yield server
    finally:
        server.stop()
