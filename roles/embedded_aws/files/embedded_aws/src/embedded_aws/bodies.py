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

INLINE = 16 * 1024  # bytes
LARGEST = 256 * 1024 * 1024  # bytes; moto holds three copies of a body during a request
_BLOCK = 1024 * 1024


class BadBodyError(Exception):
    """A rejected body; the message is the S3 error code."""


@dataclass(frozen=True)
class Body:
    """A received body. `head` is the whole body, or the first INLINE bytes of the file named `digest`."""

    head: bytes
    digest: str = ""
    size: int = 0


class Bodies:
    """A folder of body files with reference counts; a file is deleted with its last reference."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holders: Counter[str] = Counter()
        self._lock = Lock()
        folder.mkdir(exist_ok=True)

    def take(self, stream: BinaryIO, length: int | None) -> Body:
        """Read a body of `length` bytes (None: to the end of the stream) and add a reference. Raises BadBodyError.

        Syncs a large body to disk before it returns, without a lock, so a slow client delays no other request.
        """
        most = LARGEST + 1 if length is None else length
        if not 0 <= most <= LARGEST + 1:
            raise BadBodyError("EntityTooLarge")
        head = _read(stream, min(most, INLINE + 1))
        body = self._take_file(stream, most, head) if len(head) > INLINE else Body(head, size=len(head))
        if body.size > LARGEST or (length is not None and body.size < length):
            self.release(body)
            raise BadBodyError("EntityTooLarge" if body.size > LARGEST else "IncompleteBody")
        return body

    def _take_file(self, stream: BinaryIO, most: int, head: bytes) -> Body:
        digest, size, block = sha256(), 0, head
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="new-", buffering=0, delete=False) as file:
            try:
                while block:
                    digest.update(block)
                    size += file.write(block)
                    block = _read(stream, min(most - size, _BLOCK))
                os.fsync(file.fileno())
            except BaseException:
                Path(file.name).unlink()
                raise
        body = Body(head[:INLINE], digest.hexdigest(), size)
        with self._lock:  # a concurrent release() of the same digest must not delete the new file
            self._holders[body.digest] += 1
            Path(file.name).replace(self._folder / body.digest)
        self._sync()
        return body

    def open(self, body: Body) -> BinaryIO:
        """Return the body as a stream. Raises FileNotFoundError."""
        return (self._folder / body.digest).open("rb") if body.digest else BytesIO(body.head)

    def known(self, digest: str, size: int) -> Body:
        """Return the body of an existing file and add a reference. Raises FileNotFoundError."""
        with (self._folder / digest).open("rb") as file:
            head = file.read(INLINE)
        self._holders[digest] += 1
        return Body(head, digest, size)

    def release(self, body: Body) -> None:
        """Remove a reference to a body; delete its file with the last one."""
        if not body.digest:
            return
        with self._lock:
            self._holders[body.digest] -= 1
            if not self._holders[body.digest]:
                del self._holders[body.digest]
                (self._folder / body.digest).unlink()

    def sweep(self) -> None:
        """Delete every file without a reference, such as one of an interrupted request."""
        for path in self._folder.iterdir():
            if path.name not in self._holders:
                path.unlink()

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(stream: BinaryIO, count: int) -> bytes:
    """Read `count` bytes, or fewer at the end. Raises BadBodyError if the peer disconnects or times out."""
    data = b""
    try:
        while len(data) < count and (piece := stream.read(count - len(data))):
            data += piece
    except OSError as error:
        raise BadBodyError("IncompleteBody") from error
    return data
