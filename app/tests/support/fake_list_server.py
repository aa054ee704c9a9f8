"""A ROUTER under a test's control: what it says to each request, and when it goes away and comes back."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from support import PATIENCE

Handle = Callable[[bytes], list[bytes]]  # one message received, any number of messages sent back
CUT = b"\0cut"  # instead of an answer: all connections end, and new ones are taken at once


def answered(request: bytes, **fields: Any) -> bytes:
    """Return a native answer to a request."""
    told = {"id": json.loads(request)["id"], "ok": True, "text": "Feito.", "list": "default", "length": 1, "version": 1}
    return json.dumps(told | fields).encode()


class Fake:
    """The server: `received` holds who sent what."""

    def __init__(self, handle: Handle, port: int, secret: bytes) -> None:
        self.received: list[tuple[bytes, bytes]] = []
        self._handle, self._secret = handle, secret
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._bound(port)
        self.port = int(_endpoint(self._router).rpartition(":")[2])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it and all its connections."""
        self._context.term()
        self._thread.join(PATIENCE)

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
                self._once()
        except zmq.ContextTerminated:
            self._router.close(0)

    def _once(self) -> None:
        sender, _, request = self._router.recv_multipart()
        self.received.append((sender, request))
        for answer in self._handle(request):
            if answer == CUT:
                self._router.unbind(_endpoint(self._router))
                self._router.close(1000)  # once the answers before have left
                self._router = self._again()
            else:
                self._router.send_multipart([sender, b"", answer])

    def _again(self) -> "zmq.Socket[bytes]":
        while True:  # ZeroMQ closes the former socket in a thread of its own
            try:
                return self._bound(self.port)
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE:
                    raise


def _endpoint(router: "zmq.Socket[bytes]") -> str:
    found = router.get(zmq.LAST_ENDPOINT)
    assert isinstance(found, bytes)
    return found.decode().rstrip("\0")


@contextmanager
def fake(handle: Handle, port: int = 0, secret: bytes = b"") -> Iterator[Fake]:
    """Run a fake for the time of a block."""
    one = Fake(handle, port, secret)
    try:
        yield one
    finally:
        one.stop()
