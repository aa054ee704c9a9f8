"""An S3 that costs next to nothing: `python sink.py PORT`, in clear text, a thread for each connection.

PUT with `If-None-Match: *` keeps the object, in memory; a key that is there already is refused, and counted.
GET /?count=N waits until N objects are there, or none has come for PATIENCE_SECONDS, and answers with one JSON object:
for each key when its last byte was there (in seconds of time.monotonic) and its SHA-256, worked out only then.
"""

import json
import re
import socket
import sys
import threading
import time
from contextlib import suppress
from hashlib import sha256
from typing import Any

PATIENCE_SECONDS = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_OK, _EXISTS = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 412 Precondition Failed\r\n"
_BAD, _CONTINUE = b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"
_EMPTY = b"Content-Length: 0\r\n\r\n"


class Sink:
    """The objects, and how many requests were refused."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[float, bytearray]] = {}
        self._refused = 0
        self._more = threading.Condition()

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of a connection until its end."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        with connection, suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
                while (end := received.find(b"\r\n\r\n")) >= 0:
                    head, rest = received[: end + 2], received[end + 4 :]
                    received = self._answer(connection, head, rest)

    def _answer(self, connection: socket.socket, head: bytes, rest: bytes) -> bytes:
        """Answer one request; return what came after it."""
        method, target = head.split(b" ", 2)[:2]
        if method == b"GET":
            content = json.dumps(self._account(int(target.rpartition(b"=")[2]))).encode()
            connection.sendall(_OK + b"Content-Length: %d\r\n\r\n" % len(content) + content)
            return rest
        options = head.lower()
        length = _LENGTH.search(head)
        if method != b"PUT" or not length or b"\r\nif-none-match: *\r\n" not in options or b"aws-chunked" in options:
            self._refused += 1
            connection.sendall(_BAD + b"Connection: close\r\n" + _EMPTY)
            raise ConnectionAbortedError
        if b"\r\nexpect: 100-continue\r\n" in options:
            connection.sendall(_CONTINUE)
        body = bytearray(int(length[1]))
        body[: len(rest)] = rest[: len(body)]
        view, at = memoryview(body), min(len(rest), len(body))
        while at < len(body):
            got = connection.recv_into(view[at:], 0, socket.MSG_WAITALL)
            if not got:
                raise ConnectionAbortedError
            at += got
        connection.sendall((_OK if self._keep(target.decode(), body) else _EXISTS) + _EMPTY)
        return rest[len(body) :]

    def _keep(self, key: str, body: bytearray) -> bool:
        with self._more:
            if key in self._objects:
                self._refused += 1
                return False
            self._objects[key] = time.monotonic(), body
            self._more.notify_all()
            return True

    def _account(self, count: int) -> dict[str, Any]:
        with self._more:
            while len(self._objects) < count and self._more.wait(PATIENCE_SECONDS):
                pass
            objects = {key: (at, sha256(body).hexdigest()) for key, (at, body) in self._objects.items()}
            return {"refused": self._refused, "objects": objects}


def main(port: int) -> None:
    """Serve for ever."""
    sink = Sink()
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            threading.Thread(target=sink.serve, args=[listener.accept()[0]], daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
