"""A client of the remote list: fills a list, sends single requests, reads a list."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import zmq

from bench.core.errors import InvalidRunError

RESPONSE_TIMEOUT_MS = 60_000
FILL_CONNECTIONS = 16
FILL_WINDOW = 512  # unanswered requests on all connections together, a multiple of FILL_CONNECTIONS
SLICE_ELEMENTS = 50_000  # elements per request when a list is read


class Client:
    """A REQ socket: one request, then its response."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket

    def send(self, request: bytes) -> None:
        """Send a request, and do not wait for its response."""
        self._socket.send(request)

    def has_response(self) -> bool:
        """Return whether `receive` would return at once."""
        return bool(self._socket.poll(0))

    def receive(self) -> bytes:
        """Return the response. Raises InvalidRunError if none arrives."""
        return receive(self._socket)[0]

    def request(self, request: bytes) -> bytes:
        """Send a request and return its response. Raises InvalidRunError if none arrives."""
        self.send(request)
        return self.receive()

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a native request and return its response. Raises InvalidRunError if the server rejects it."""
        return parse_success(self.request(native_request(op, **fields)))

    def elements(self, name: str) -> Iterator[str]:
        """Yield the elements of a list, read in slices."""
        start = 0
        while elements := self.call("show", list=name, start=start, stop=start + SLICE_ELEMENTS)["elements"]:
            yield from elements
            start += len(elements)


@contextmanager
def connected(port: int) -> Iterator[Client]:
    """Yield a client of the server on a port of loopback."""
    # A new context starts its thread here, so that it inherits the CPU affinity of the caller.
    with zmq.Context() as context, _socket(context, port, zmq.REQ) as socket:
        yield Client(socket)


def native_request(op: str, **fields: Any) -> bytes:
    """Return a native request."""
    return json.dumps({"op": op, **fields}, ensure_ascii=False).encode()


def parse_success(response: bytes) -> dict[str, Any]:
    """Return a native response. Raises InvalidRunError if it is malformed or an error."""
    try:
        fields: dict[str, Any] = json.loads(response)
    except ValueError:
        fields = {}
    if not fields.get("ok"):
        raise InvalidRunError(f"the server responded {response[:200]!r}")
    return fields


def fill(port: int, name: str, values: Sequence[str]) -> None:
    """Append `values` to a list, in any order, by pipelined requests with idempotency keys.

    Raises InvalidRunError if the server rejects one.
    """
    with zmq.Context() as context, ExitStack() as stack:
        sockets = [stack.enter_context(_socket(context, port, zmq.DEALER)) for _ in range(FILL_CONNECTIONS)]
        for index, request in enumerate(_append_requests(name, values)):
            if index >= FILL_WINDOW:
                _require_accepted(sockets[index % FILL_CONNECTIONS])  # the oldest unanswered request
            sockets[index % FILL_CONNECTIONS].send_multipart([b"", request])
        for index in range(min(FILL_WINDOW, len(values))):
            _require_accepted(sockets[index % FILL_CONNECTIONS])


def _append_requests(name: str, values: Iterable[str]) -> Iterator[bytes]:
    producer_ids = [uuid4().hex for _ in range(FILL_CONNECTIONS)]
    for index, value in enumerate(values):
        key = f"{producer_ids[index % FILL_CONNECTIONS]}:{index + 1}"
        yield native_request("append", list=name, value=value, id=key)


def _require_accepted(socket: "zmq.Socket[bytes]") -> None:
    response = receive(socket)[-1]
    if b'"ok":true' not in response:  # parsing would take longer than the server needs for the request
        parse_success(response)


def receive(socket: "zmq.Socket[bytes]") -> list[bytes]:
    """Return the frames of the next message. Raises InvalidRunError if none arrives."""
    try:
        return socket.recv_multipart()
    except zmq.Again as error:
        raise InvalidRunError(f"no response within {RESPONSE_TIMEOUT_MS // 1000} s") from error


@contextmanager
def _socket(context: "zmq.Context[zmq.Socket[bytes]]", port: int, kind: int) -> Iterator["zmq.Socket[bytes]"]:
    with context.socket(kind) as socket:
        socket.setsockopt(zmq.RCVTIMEO, RESPONSE_TIMEOUT_MS)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{port}")
        yield socket
