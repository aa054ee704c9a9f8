"""What makes changes last: a journal of them, fsynced before they are answered, and a snapshot now and then.

The journal is a log of frota.storage.wal. A snapshot lets it begin anew: the first record after it is the first of a
segment, and the segments before that are deleted once the snapshot is on disk.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from frota.core.errors import StateError
from frota.logs import log
from frota.remote_list.changes import ExecutedRequest, execute
from frota.remote_list.lists import UNLIMITED, Lists
from frota.remote_list.messages import CHANGES, Request, RequestRejected
from frota.remote_list.response_cache import ResponseCache
from frota.remote_list.server import snapshot
from frota.remote_list.server.snapshot import StateCopy
from frota.storage.wal import segment
from frota.storage.wal.log import DiskFull, Limits, LogFiles
from frota.storage.wal.reader import Damage, Reader

_RESTORE_HINT = "put a backup of the folder in its place, or move it away"
_SEGMENT_BYTES, _PREALLOCATED_BYTES = 64 * 2**20, 2**20


class ChangeLog:
    """The state folder, claimed for this process. Raises StateError where it cannot be used as it is."""

    durable = True

    def __init__(self, directory: Path, snapshot_bytes: int) -> None:
        self._directory, self._snapshot_bytes = directory, snapshot_bytes
        self._wal = LogFiles(directory, Limits(_SEGMENT_BYTES, producers=0, ahead_bytes=_PREALLOCATED_BYTES))
        self._wal_bytes = self._snapshot_size = 0  # bytes of the journal since the last snapshot, bytes of that
        self._writer: ThreadPoolExecutor | None = None
        self._snapshot_wanted = True

    def recover(self, lists: Lists, cache: ResponseCache) -> int:
        """Bring back what was kept; return how many records of the journal were applied. Raises StateError."""
        first = snapshot.newest(self._directory)
        if first:
            self._snapshot_size = snapshot.read(snapshot.path_of(self._directory, first), lists, cache)
        for path in self._directory.glob("*.unfinished"):
            path.unlink()
        begin, last = max(first, 1), self._wal.position.segment
        numbers = [number for number in segment.listed(self._directory) if number >= begin]
        if not numbers or numbers != list(range(begin, last + 1)):
            missing = f"a segment is missing: there are {numbers or 'none'} from {begin} on"
            raise StateError(f"state folder {self._directory}: {missing}; put a backup in its place, or move it away")
        self._wal.drop(begin)  # left behind where a process ended between a snapshot and this
        limits, lists.limits = lists.limits, UNLIMITED  # what was taken in under other limits stays
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
                    where = f"{segment.path_of(self._directory, number)}: change {count + 1} of those read back"
                    raise StateError(f"{where} cannot be made again: {error}; {_RESTORE_HINT}") from error
                lists.discarded.clear()
                cache.evict()
                count += 1
            self._wal_bytes += segment.path_of(self._directory, number).stat().st_size
        return count

    def commit(self, records: list[bytes], replay_bytes: int = 0) -> None:
        """Make records durable, all or none; `weight` is what they cost at the next start beyond their length.

        Raises DiskFull for none; after any other error nobody knows.
        """
        data = segment.encode_commit(records)
        self._wal.commit(data)
        self._wal_bytes += len(data) + replay_bytes

    def snapshot_if_due(self, lists: Lists, cache: ResponseCache) -> None:
        """Begin a snapshot in a thread when the journal has grown enough; what is given is copied at once."""
        if self._writer or self._wal_bytes < max(self._snapshot_bytes, self._snapshot_size):
            return
        self._wal_bytes = 0  # also where it fails: tried again when it is due once more
        try:
            number = self._wal.begin_segment()
        except (DiskFull, OSError) as error:
            log.record("WARNING", "snapshot_failed", f"no snapshot made, the journal goes on: {error}")
            return
        self._writer = ThreadPoolExecutor(1, "snapshot")
        loop = asyncio.get_running_loop()
        copy = StateCopy(lists, cache)
        work = loop.run_in_executor(
            self._writer, snapshot.write, self._directory, number, copy, lambda: self._snapshot_wanted
        )
        work.add_done_callback(lambda done: self._finish_snapshot(number, done))

    def close(self) -> None:
        """Give the files back; a snapshot that is being written is given up."""
        self._snapshot_wanted = False
        if self._writer:
            self._writer.shutdown()
        self._wal.close()

    def _finish_snapshot(self, number: int, done: "asyncio.Future[int]") -> None:
        self._writer = None
        error = None if done.cancelled() else done.exception()
        if error:
            log.record("WARNING", "snapshot_failed", f"no snapshot made, the journal goes on: {error}")
        elif self._snapshot_wanted and done.result():
            self._snapshot_size = done.result()
            self._wal.drop(number)
            text = f"snapshot {number} holds everything before it: {self._snapshot_size} bytes"
            log.record("INFO", "snapshot_written", text, BYTES=self._snapshot_size)


class NoChangeLog:
    """In a journal's place where nothing is to be kept."""

    durable = False

    def recover(self, _lists: Lists, _cache: ResponseCache) -> int:
        """Bring back nothing."""
        return 0

    def commit(self, _records: list[bytes], _replay_bytes: int = 0) -> None:
        """Keep nothing."""

    def snapshot_if_due(self, _lists: Lists, _cache: ResponseCache) -> None:
        """Never."""

    def close(self) -> None:
        """Nothing to give back."""


# What a record holds of a request, beside its operation and list.
_ARGUMENTS = {"append": ("value",), "insert": ("value", "position"), "remove": ("value",), "sort": ("by", "descending")}


def encode(executed: ExecutedRequest, time_us: int) -> bytes:
    """Return the record of a change, or of one that was refused: then it is its answer that is to be given again."""
    request = executed.request
    content: list[Any] = ["refused", executed.response.decode()]
    if executed.applied:
        content = [request.op, request.list, *[getattr(request, name) for name in _ARGUMENTS.get(request.op, ())]]
    client = bytes.fromhex(request.client) if request.client else segment.NO_PRODUCER
    return segment.encode_record(orjson.dumps(content), time_us, client, request.number)


def replay_bytes(executed: ExecutedRequest) -> int:
    """Return what it costs to do a change again, in bytes of a journal that costs as much to read."""
    return executed.applied.list.size if executed.applied and executed.request.op == "sort" else 0


def replay(record: segment.Record, lists: Lists, cache: ResponseCache) -> int:
    """Do again what a record says; return its weight."""
    op, first, *rest = orjson.loads(record.payload)
    client = "" if record.producer == segment.NO_PRODUCER else record.producer.hex()
    if op == "refused":
        cache.store(client, record.number, first.encode())
        return 0
    if op not in CHANGES:
        raise ValueError(f"no such change as {op!r}: a newer frota wrote it")
    request = Request(op, list=first, **dict(zip(_ARGUMENTS.get(op, ()), rest, strict=True)))
    if client:
        request.id, request.client, request.number = f"{client}:{record.number}", client, record.number
        request.native = True
    return replay_bytes(execute(request, record.time_us, lists, cache))


def _raise_damage(damage: Damage) -> None:
    # What follows cannot be applied to a list that lacks what is lost; the newest segment's torn end is cut off before.
    raise StateError(f"{damage}; {_RESTORE_HINT}")
