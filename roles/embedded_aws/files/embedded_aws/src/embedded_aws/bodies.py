"""Request bodies: a small one is inline in its journal line, a larger one is a file named by its digest."""

import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO

MAX_INLINE_BYTES = 16 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024  # moto holds three copies of a body during a request
_BLOCK_BYTES = 1024 * 1024


class BodyRejectedError(Exception):
    """A rejected body; the message is the S3 error code."""


@dataclass(frozen=True)
class Body:
    """A received body. `head` is the whole body, or the beginning of the file named `digest`."""

    head: bytes
    digest: str = ""
    size: int = 0


class Bodies:
    """A folder of body files with reference counts; a file is deleted with its last reference.

    A body of more than `max_inline_bytes` is a file, one of more than `max_bytes` is rejected.
    """

    def __init__(
        self, folder: Path, *, max_inline_bytes: int = MAX_INLINE_BYTES, max_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._folder, self._max_inline_bytes, self._max_bytes = folder, max_inline_bytes, max_bytes
        self._references: Counter[str] = Counter()
        self._lock = Lock()
        folder.mkdir(exist_ok=True)

    def receive(self, stream: BinaryIO, length: int | None) -> Body:
        """Read a body of `length` bytes (None: to the end of the stream) and add a reference. Raises BodyRejectedError.

        Syncs a large body to disk before it returns, without a lock, so a slow client delays no other request.
        """
        max_bytes = self._max_bytes + 1 if length is None else length
        if not 0 <= max_bytes <= self._max_bytes + 1:
            raise BodyRejectedError("EntityTooLarge")
        head = _read(stream, min(max_bytes, self._max_inline_bytes + 1))
        is_inline = len(head) <= self._max_inline_bytes
        body = Body(head, size=len(head)) if is_inline else self._receive_file(stream, max_bytes, head)
        if body.size > self._max_bytes or (length is not None and body.size < length):
            self.release(body)
            raise BodyRejectedError("EntityTooLarge" if body.size > self._max_bytes else "IncompleteBody")
        return body

    def _receive_file(self, stream: BinaryIO, max_bytes: int, head: bytes) -> Body:
        digest, size, block = sha256(), 0, head
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="new-", buffering=0, delete=False) as file:
            try:
                while block:
                    digest.update(block)
                    size += file.write(block)
                    block = _read(stream, min(max_bytes - size, _BLOCK_BYTES))
                os.fsync(file.fileno())
            except BaseException:
                Path(file.name).unlink()
                raise
        body = Body(head[: self._max_inline_bytes], digest.hexdigest(), size)
        with self._lock:  # a concurrent release() of the same digest must not delete the new file
            self._references[body.digest] += 1
            Path(file.name).replace(self._folder / body.digest)
        self._sync()
        return body

    def open(self, body: Body) -> BinaryIO:
        """Return the body as a stream. Raises FileNotFoundError."""
        return (self._folder / body.digest).open("rb") if body.digest else BytesIO(body.head)

    def acquire(self, digest: str, size: int) -> Body:
        """Return the body of an existing file and add a reference. Raises FileNotFoundError."""
        with (self._folder / digest).open("rb") as file:
            head = file.read(self._max_inline_bytes)
        self._references[digest] += 1
        return Body(head, digest, size)

    def release(self, body: Body) -> None:
        """Remove a reference to a body; delete its file with the last one."""
        if not body.digest:
            return
        with self._lock:
            self._references[body.digest] -= 1
            if not self._references[body.digest]:
                del self._references[body.digest]
                (self._folder / body.digest).unlink()

    def delete_unreferenced(self) -> None:
        """Delete every file without a reference, such as one of an interrupted request."""
        for path in self._folder.iterdir():
            if path.name not in self._references:
                path.unlink()

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(stream: BinaryIO, count: int) -> bytes:
    """Read `count` bytes, or fewer at the end. Raises BodyRejectedError if the peer disconnects or times out."""
    data = b""
    try:
        while len(data) < count and (block := stream.read(count - len(data))):
            data += block
    except OSError as error:
        raise BodyRejectedError("IncompleteBody") from error
    return data
