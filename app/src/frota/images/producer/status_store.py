"""The status of each image: an SQLite table written by group commit, and subscriptions to changes."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from frota.logs import log
from frota.storage import database

T = TypeVar("T")
_MAX_BATCH = 500  # changes written with one fsync
_PRUNE_INTERVAL = 1000  # changes between two deletions of the oldest images
_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, changed REAL NOT NULL,
    filename TEXT NOT NULL, trace TEXT NOT NULL, sha256 TEXT NOT NULL, worker TEXT NOT NULL, bucket TEXT NOT NULL,
    key TEXT NOT NULL, reason TEXT NOT NULL)
"""
_COLUMNS = "id, state, changed, filename, trace, sha256, worker, bucket, key, reason"


class State(IntEnum):
    """The state of an image, numbered as in images.proto."""

    UNKNOWN, QUEUED, WORKING, DONE, DEAD = range(5)


FINAL = frozenset((State.UNKNOWN, State.DONE, State.DEAD))
# Events may be duplicated and late: a done image stays done, none becomes queued again, and a dead one becomes neither
# queued nor working unless an operator has requeued it. One statement, so that a change costs one step of SQLite.
_UPSERT = f"""INSERT INTO images ({_COLUMNS}) VALUES ({", ".join("?" * 10)}) ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, changed = excluded.changed, worker = excluded.worker, bucket = excluded.bucket,
    key = excluded.key, reason = excluded.reason
    WHERE state != {State.DONE:d} AND CASE excluded.state
        WHEN {State.QUEUED:d} THEN state = {State.DEAD:d} AND ? WHEN {State.WORKING:d} THEN state != {State.DEAD:d}
        ELSE TRUE END"""  # noqa: S608 -- made of constants
_READ = f"SELECT {_COLUMNS} FROM images WHERE id = ?"  # noqa: S608 -- made of constants


class Status(NamedTuple):
    """The status of an image, as in `_COLUMNS`; `changed` is when it entered its state, in seconds since 1970."""

    id: str
    state: State
    changed: float
    filename: str = ""
    trace: str = ""
    sha256: str = ""
    worker: str = ""
    bucket: str = ""
    key: str = ""
    reason: str = ""


class StatusStore:
    """The table in `directory`, of the last `max_images` images. One writer, in a thread of its own."""

    def __init__(self, directory: Path, max_images: int, prune_interval: int = _PRUNE_INTERVAL) -> None:
        self._thread = ThreadPoolExecutor(1, "statuses")
        self._file, self._max_images = directory / "statuses.sqlite", max_images
        self._pending: list[tuple[Status, bool, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._watchers: dict[str, set[asyncio.Queue[Status]]] = {}
        self._written, self._prune_interval = 0, prune_interval

    async def open(self) -> None:
        """Open the table. Raises OSError."""
        await self._in_thread(self._open)
        with self._as_oserror():
            self._reader = database.connect(self._file)

    async def close(self) -> None:
        """Write pending changes, and close."""
        while self._writer:
            await self._writer
        self._reader.close()
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def save(self, status: Status, *, retried: bool = False) -> None:
        """Return when the change is on disk, or ignored as outdated. Raises OSError.

        `retried`: an operator has requeued a dead image.
        """
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((status, retried, saved))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        await saved

    async def get(self, ids: Sequence[str]) -> list[Status]:
        """Return the statuses of images, in the same order. Raises OSError."""
        return await self._in_thread(lambda: [_read(self._table, image) for image in ids])

    def status(self, image: str) -> Status:
        """Return the status of one image. Raises OSError.

        Reads in this thread: that takes a tenth of a switch of threads, and does not wait for the writer.
        """
        with self._as_oserror():
            return _read(self._reader, image)

    @property
    def pending(self) -> int:
        """The number of changes that wait for the disk."""
        return len(self._pending)

    @property
    def watched(self) -> int:
        """The number of images with subscribers."""
        return len(self._watchers)

    def watch(self, ids: Iterable[str]) -> "asyncio.Queue[Status]":
        """Subscribe to images: return a queue that gets every change until `unwatch`."""
        changes: asyncio.Queue[Status] = asyncio.Queue()
        for image in ids:
            self._watchers.setdefault(image, set()).add(changes)
        return changes

    def unwatch(self, ids: Iterable[str], changes: "asyncio.Queue[Status]") -> None:
        """Unsubscribe the queue."""
        for image in ids:
            watchers = self._watchers.get(image, set())
            watchers.discard(changes)
            if not watchers:
                self._watchers.pop(image, None)

    async def _write(self) -> None:
        """Write pending changes by group commit until none is left."""
        while self._pending:
            group, self._pending = self._pending[:_MAX_BATCH], self._pending[_MAX_BATCH:]
            changed: list[Status] = []
            error: Exception | None = None
            try:
                changed = await self._in_thread(
                    partial(self._apply, [(status, retried) for status, retried, _ in group])
                )
            except OSError as problem:
                error = problem
            for status in changed:
                for changes in self._watchers.get(status.id, ()):
                    changes.put_nowait(status)
            for *_, saved in group:
                if not saved.done():
                    saved.set_exception(error) if error else saved.set_result(None)
        self._writer = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            with self._as_oserror():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    @contextmanager
    def _as_oserror(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise database.explained(self._file, error) from error

    # The following methods run in the thread.

    def _open(self) -> None:
        self._table = database.connect(self._file)
        self._table.execute(_SCHEMA)

    def _close(self) -> None:
        self._table.close()

    def _apply(self, group: list[tuple[Status, bool]]) -> list[Status]:
        """Write one group with one fsync; return the effective changes."""
        with database.transaction(self._table):
            changed = [new for new, retried in group if self._table.execute(_UPSERT, (*new, retried)).rowcount]
            self._prune(len(changed))
        return changed

    def _prune(self, count: int) -> None:
        self._written += count
        if self._written >= self._prune_interval:
            self._written = 0
            last = "SELECT max(number) FROM images"
            old = f"DELETE FROM images WHERE number <= ({last}) - ?"  # noqa: S608 -- a constant
            if deleted := self._table.execute(old, [self._max_images]).rowcount:
                text = f"deleted the oldest {deleted} statuses of more than {self._max_images} (IMAGES_MAX_STATUSES)"
                log.record("INFO", "statuses_expired", text, COUNT=deleted)


def _read(table: sqlite3.Connection, image: str) -> Status:
    row = table.execute(_READ, [image]).fetchone()
    return Status(row[0], State(row[1]), *row[2:]) if row else Status(image, State.UNKNOWN, 0.0)
