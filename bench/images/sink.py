"""An S3 that uses little CPU: `python sink.py PORT`, in clear text, one thread per connection.

PUT with `If-None-Match: *` stores the object in memory. It rejects, and counts, a key that exists.
GET /?count=N waits until there are N objects, or until no object has arrived for OBJECT_TIMEOUT_S. The response is one
JSON object: for each key, the time of its last byte (time.monotonic, s) and its SHA-256, which is computed only now.
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

OBJECT_TIMEOUT_S = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_OK, _EXISTS = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 412 Precondition Failed\r\n"
_BAD, _CONTINUE = b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"
_EMPTY = b"Content-Length: 0\r\n\r\n"


class Sink:
    """The objects, and the number of rejected requests."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[float, bytearray]] = {}
        self._rejected = 0
        self._stored = threading.Condition()

    def serve(self, connection: socket.socket) -> None:
        """Serve a connection until it is closed."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        with connection, suppress(ConnectionError):
            while data := connection.recv(65536):
                received += data
                while (end := received.find(b"\r\n\r\n")) >= 0:
                    head, rest = received[: end + 2], received[end + 4 :]
                    received = self._respond(connection, head, rest)

    def _respond(self, connection: socket.socket, head: bytes, rest: bytes) -> bytes:
        """Respond to a request; return the bytes after it."""
        method, target = head.split(b" ", 2)[:2]
        if method == b"GET":
            content = json.dumps(self._describe(int(target.rpartition(b"=")[2]))).encode()
            connection.sendall(_OK + b"Content-Length: %d\r\n\r\n" % len(content) + content)
            return rest
        headers = head.lower()
        length = _LENGTH.search(head)
        if method != b"PUT" or not length or b"\r\nif-none-match: *\r\n" not in headers or b"aws-chunked" in headers:
            self._rejected += 1
            connection.sendall(_BAD + b"Connection: close\r\n" + _EMPTY)
            raise ConnectionAbortedError
        if b"\r\nexpect: 100-continue\r\n" in headers:
            connection.sendall(_CONTINUE)
        body = bytearray(int(length[1]))
        body[: len(rest)] = rest[: len(body)]
        view, at = memoryview(body), min(len(rest), len(body))
        while at < len(body):
            length_read = connection.recv_into(view[at:], 0, socket.MSG_WAITALL)
            if not length_read:
                raise ConnectionAbortedError
            at += length_read
        connection.sendall((_OK if self._store(target.decode(), body) else _EXISTS) + _EMPTY)
        return rest[len(body) :]

    def _store(self, key: str, body: bytearray) -> bool:
        with self._stored:
            if key in self._objects:
                self._rejected += 1
                return False
            self._objects[key] = time.monotonic(), body
            self._stored.notify_all()
            return True

    def _describe(self, count: int) -> dict[str, Any]:
        with self._stored:
            while len(self._objects) < count and self._stored.wait(OBJECT_TIMEOUT_S):
                pass
            objects = {key: (at, sha256(body).hexdigest()) for key, (at, body) in self._objects.items()}
            return {"rejected": self._rejected, "objects": objects}


def main(port: int) -> None:
    """Serve until the process is killed."""
    sink = Sink()
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            threading.Thread(target=sink.serve, args=[listener.accept()[0]], daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
