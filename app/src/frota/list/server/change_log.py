"""The change log: every change is fsynced to a write-ahead log before its response; snapshots keep the log short.

The log is one of frota.storage.wal. The first record after a snapshot is the first of a segment, and the segments
before that are deleted once the snapshot is on disk.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from frota.core.errors import RequestRejected, StateError
from frota.list.changes import ExecutedRequest, execute
from frota.list.lists import UNLIMITED, Lists
from frota.list.messages import CHANGES, Request
from frota.list.response_cache import ResponseCache
from frota.list.server import snapshot
from frota.list.server.snapshot import StateCopy
from frota.logs import log
from frota.storage.wal import segment
from frota.storage.wal.log import DiskFull, Limits, LogFiles
from frota.storage.wal.reader import Damage, Reader

_RESTORE_HINT = "restore the folder from a backup, or move it away"
_SEGMENT_BYTES, _PREALLOCATED_BYTES = 64 * 2**20, 2**20


class ChangeLog:
    """The state folder, locked for this process. Raises StateError for an unusable one."""

    durable = True

    def __init__(self, directory: Path, snapshot_bytes: int) -> None:
        self._directory, self._snapshot_bytes = directory, snapshot_bytes
        self._wal = LogFiles(directory, Limits(_SEGMENT_BYTES, max_producers=0, preallocated_bytes=_PREALLOCATED_BYTES))
        self._wal_bytes = self._snapshot_size = 0  # of the log since the last snapshot, and of that
        self._executor: ThreadPoolExecutor | None = None
        self._snapshot_needed = True
        self.snapshot_time = 0.0  # when the newest one was written, in seconds since 1970; 0 without one
        self.snapshots_failed_total = 0

    def recover(self, lists: Lists, cache: ResponseCache) -> int:
        """Load the snapshot and replay the log; return the number of replayed records. Raises StateError."""
        first = snapshot.newest(self._directory)
        if first:
            path = snapshot.path_of(self._directory, first)
            self._snapshot_size, self.snapshot_time = snapshot.read(path, lists, cache), path.stat().st_mtime
        for path in self._directory.glob("*.unfinished"):
            path.unlink()
        begin, last = max(first, 1), self._wal.position.segment
        numbers = [number for number in segment.segment_numbers(self._directory) if number >= begin]
        if not numbers or numbers != list(range(begin, last + 1)):
            missing = f"a segment is missing: there are {numbers or 'none'} from {begin} on"
            raise StateError(f"state folder {self._directory}: {missing}; {_RESTORE_HINT}")
        self._wal.truncate_before(begin)  # the former process may have ended between snapshot and deletion
        limits, lists.limits = lists.limits, UNLIMITED  # what was accepted under former limits stays
        count = self._replay_segments(numbers, lists, cache)
        lists.limits = limits
        return count

    def _replay_segments(self, numbers: list[int], lists: Lists, cache: ResponseCache) -> int:
        reader = Reader(self._directory, self._wal.position, _raise_damage)
        count = 0
        for number in numbers:
            for record in reader.records(number):
                try:
                    self._wal_bytes += replay(record, lists, cache)
                except (ValueError, TypeError, LookupError, RequestRejected) as error:
                    where = f"{segment.path_of(self._directory, number)}: replaying change {count + 1} failed"
                    raise StateError(f"{where}: {error}; {_RESTORE_HINT}") from error
                lists.discarded.clear()
                cache.evict()
                count += 1
            self._wal_bytes += segment.path_of(self._directory, number).stat().st_size
        return count

    @property
    def size(self) -> int:
        """The size of all segments, in bytes."""
        return self._wal.size

    def commit(self, records: list[bytes], replay_bytes: int = 0) -> None:
        """Append records and fsync, all or none; `replay_bytes` is the cost of replaying them beyond their length.

        Raises DiskFull if none was written; after any other error the state of the disk is unknown.
        """
        data = segment.encode_commit(records)
        self._wal.commit(data)
        self._wal_bytes += len(data) + replay_bytes

    def snapshot_if_due(self, lists: Lists, cache: ResponseCache) -> None:
        """Start a snapshot when the log has grown enough."""
        if not self._executor and self._wal_bytes >= max(self._snapshot_bytes, self._snapshot_size):
            self.start_snapshot(lists, cache)

    def start_snapshot(self, lists: Lists, cache: ResponseCache) -> "asyncio.Future[int] | None":
        """Write a snapshot in a thread, from a copy made now; return its future, None if it cannot start."""
        self._wal_bytes = 0  # a failed snapshot is retried when the log has grown as much again
        try:
            number = self._wal.begin_segment()
        except (DiskFull, OSError) as error:
            self._log_failed_snapshot(error)
            return None
        self._executor = ThreadPoolExecutor(1, "snapshot")
        copy = StateCopy(lists, cache)
        work = asyncio.get_running_loop().run_in_executor(
            self._executor, snapshot.write, self._directory, number, copy, lambda: self._snapshot_needed
        )
        work.add_done_callback(lambda done: self._finish_snapshot(number, done))
        return work

    def close(self) -> None:
        """Cancel a running snapshot and close the files."""
        self._snapshot_needed = False
        if self._executor:
            self._executor.shutdown()
        self._wal.close()

    def _log_failed_snapshot(self, error: BaseException) -> None:
        self.snapshots_failed_total += 1
        log.record("WARNING", "snapshot_failed", f"snapshot failed, the change log keeps growing: {error}")

    def _finish_snapshot(self, number: int, done: "asyncio.Future[int]") -> None:
        self._executor = None
        error = None if done.cancelled() else done.exception()
        if error:
            self._log_failed_snapshot(error)
        elif self._snapshot_needed and done.result():
            self._snapshot_size, self.snapshot_time = done.result(), time.time()
            self._wal.truncate_before(number)
            text = f"snapshot {number} written: {self._snapshot_size} bytes"
            log.record("INFO", "snapshot_written", text, BYTES=self._snapshot_size)


class NoChangeLog:
    """Replaces the change log where lists are in memory only."""

    durable = False
    size = snapshots_failed_total = 0
    snapshot_time = 0.0

    def recover(self, _lists: Lists, _cache: ResponseCache) -> int:
        """Recover nothing."""
        return 0

    def commit(self, _records: list[bytes], _replay_bytes: int = 0) -> None:
        """Write nothing."""

    def snapshot_if_due(self, _lists: Lists, _cache: ResponseCache) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


# The fields of a record after its operation and list.
_ARGUMENTS = {"append": ("value",), "insert": ("value", "position"), "remove": ("value",), "sort": ("by", "descending")}


def encode_change(executed: ExecutedRequest, time_us: int) -> bytes:
    """Return the record of a change; that of a rejected one holds the response, for the response cache."""
    request = executed.request
    content: list[Any] = ["refused", executed.response.decode()]
    if executed.applied:
        content = [request.op, request.list, *[getattr(request, name) for name in _ARGUMENTS.get(request.op, ())]]
    client = bytes.fromhex(request.client) if request.client else segment.NO_PRODUCER
    return segment.encode_record(orjson.dumps(content), time_us, client, request.number)


def replay_cost(executed: ExecutedRequest) -> int:
    """Return the cost of replaying a change, in bytes of log that take as long to read: a sort reads its list."""
    return executed.applied.list.size if executed.applied and executed.request.op == "sort" else 0


def replay(record: segment.Record, lists: Lists, cache: ResponseCache) -> int:
    """Execute a recorded change again; return its replay cost in bytes."""
    op, first, *rest = orjson.loads(record.payload)
    client = "" if record.producer == segment.NO_PRODUCER else record.producer.hex()
    if op == "refused":
        cache.store(client, record.sequence, first.encode())
        return 0
    if op not in CHANGES:
        raise ValueError(f"unknown operation {op!r}, perhaps of a newer frota")
    request = Request(op, list=first, **dict(zip(_ARGUMENTS.get(op, ()), rest, strict=True)))
    if client:
        request.id, request.client, request.number = f"{client}:{record.sequence}", client, record.sequence
        request.native = True
    return replay_cost(execute(request, record.time_us, lists, cache))


def _raise_damage(damage: Damage) -> None:
    # Later changes cannot be applied without the lost ones; a torn write at the end of the log is cut off before.
    raise StateError(f"{damage}; {_RESTORE_HINT}")
