"""A client of the list, for what is no load: filling it, asking one thing, reading it back."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import zmq

from bench.core.errors import InvalidRunError

PATIENCE_MS = 60_000  # for an answer
FILLERS = 16  # connections that fill a list
WINDOW = 512  # requests that are unanswered while filling, on all connections together
SLICE = 50_000  # elements that are read back at once


class Client:
    """A REQ socket: one request, then its answer."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket

    def send(self, request: bytes) -> None:
        """Ask, and do not wait."""
        self._socket.send(request)

    def is_answered(self) -> bool:
        """Tell whether `receive` would return at once."""
        return bool(self._socket.poll(0))

    def receive(self) -> bytes:
        """Return the answer. Raises InvalidRunError where none comes."""
        return receive(self._socket)[0]

    def ask(self, request: bytes) -> bytes:
        """Return the answer to a request."""
        self.send(request)
        return self.receive()

    def do(self, op: str, **fields: Any) -> dict[str, Any]:
        """Return the answer to a native request. Raises InvalidRunError where the server refuses."""
        return granted(self.ask(native(op, **fields)))

    def elements(self, name: str) -> Iterator[str]:
        """Yield a list's elements, read in slices."""
        start = 0
        while found := self.do("show", list=name, start=start, stop=start + SLICE)["elements"]:
            yield from found
            start += len(found)


@contextmanager
def connected(port: int) -> Iterator[Client]:
    """Give a client of the server on loopback."""
    # A context of its own: its thread begins here, on the CPUs that the caller is confined to.
    with zmq.Context() as context, _socket(context, port, zmq.REQ) as socket:
        yield Client(socket)


def native(op: str, **fields: Any) -> bytes:
    """Return a native request."""
    return json.dumps({"op": op, **fields}, ensure_ascii=False).encode()


def granted(answer: bytes) -> dict[str, Any]:
    """Return a native answer. Raises InvalidRunError for any other, and for one that says no."""
    try:
        fields: dict[str, Any] = json.loads(answer)
    except ValueError:
        fields = {}
    if not fields.get("ok"):
        raise InvalidRunError(f"the server answered {answer[:200]!r}")
    return fields


def fill(port: int, name: str, values: Sequence[str]) -> None:
    """Append `values` to a list, requests with ids and many at a time, in no particular order.

    Raises InvalidRunError where one is refused.
    """
    with zmq.Context() as context, ExitStack() as stack:
        sockets = [stack.enter_context(_socket(context, port, zmq.DEALER)) for _ in range(FILLERS)]
        for turn, request in enumerate(_appends(name, values)):
            if turn >= WINDOW:
                _require_accepted(sockets[turn % FILLERS])  # WINDOW is a multiple of FILLERS: the oldest request
            sockets[turn % FILLERS].send_multipart([b"", request])
        for turn in range(min(WINDOW, len(values))):
            _require_accepted(sockets[turn % FILLERS])


def _appends(name: str, values: Iterable[str]) -> Iterator[bytes]:
    writers = [uuid4().hex for _ in range(FILLERS)]
    for turn, value in enumerate(values):
        yield native("append", list=name, value=value, id=f"{writers[turn % FILLERS]}:{turn + 1}")


def _require_accepted(socket: "zmq.Socket[bytes]") -> None:
    answer = receive(socket)[-1]
    if b'"ok":true' not in answer:  # a whole parse would take longer than the server needs for the request
        granted(answer)


def receive(socket: "zmq.Socket[bytes]") -> list[bytes]:
    """Return the frames of the next message. Raises InvalidRunError where none comes."""
    try:
        return socket.recv_multipart()
    except zmq.Again as error:
        raise InvalidRunError(f"no answer within {PATIENCE_MS // 1000} s") from error


@contextmanager
def _socket(context: "zmq.Context[zmq.Socket[bytes]]", port: int, kind: int) -> Iterator["zmq.Socket[bytes]"]:
    with context.socket(kind) as socket:
        socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{port}")
        yield socket
