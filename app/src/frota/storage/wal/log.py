"""The files of a log: committed to, recovered, rotated and retired. One owner, no threads, blocking calls."""

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from frota.core.errors import StateError
from frota.logs import log
from frota.storage import files, state_folder
from frota.storage.wal import segment
from frota.storage.wal.age import Running

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class Limits(NamedTuple):
    """When a segment is full (bytes), and how much and how long is kept (bytes, seconds; 0 means for ever).

    The seconds are ones in which the log was open: clocks are set, and a month may pass in a moment.
    """

    segment_bytes: int = 4 * 2**20
    keep_bytes: int = 0
    keep_seconds: float = 0
    producers: int = 10_000  # whose last number is remembered; the one that wrote longest ago is forgotten first
    ahead_bytes: int = 0  # that a segment is longer than what it holds: to sync then takes no change of its length


class DiskFull(Exception):
    """Nothing of this commit was kept: the disk, the quota or the file size limit is exhausted."""


class Position(NamedTuple):
    """The end of what is durable."""

    segment: int
    offset: int


class LogFiles:
    """The log's folder, claimed for this process. Raises core.errors.StateError when another one holds it."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory, self._limits = directory, limits
        self._lock = state_folder.lock(directory)
        self._folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._fd = -1
        self._running = Running(directory) if limits.keep_seconds else None
        self.marks: dict[bytes, int] = {}
        numbers = segment.listed(directory)
        self._kept = {number: segment.path_of(directory, number).stat().st_size for number in numbers}
        if not (numbers and self._recover(numbers[-1])):
            self._begin_first(numbers[0] if numbers else 1)
        self.retire()

    @property
    def position(self) -> Position:
        """Where the next commit will begin."""
        return Position(self._number, self._size)

    def commit(self, data: bytes, marks: Iterable[tuple[bytes, int]] = ()) -> None:
        """Make an encoded commit durable, or nothing. Raises DiskFull; any other OSError leaves the file in doubt."""
        if self._size >= self._limits.segment_bytes or self._aged():
            self._rotate()
        if self._size + len(data) > self._allocated:
            self._allocate(len(data))
        try:
            _write(self._fd, data)
        except OSError as error:
            self._cut()  # half a commit must not be read back as the whole of one
            _raise_no_room(error)
        os.fdatasync(self._fd)
        self._size += len(data)
        self._kept[self._number] = self._size
        if self._running:
            self._running.save()
        for producer, number in marks:
            self._mark(producer, number)

    def begin_segment(self) -> int:
        """Begin a new segment; return its number. Raises DiskFull or OSError, having changed nothing."""
        self._cut()  # only the newest segment may be longer than what it holds
        self._begin(self._number + 1)
        return self._number

    def drop(self, before: int) -> None:
        """Delete the segments with lower numbers: what they hold is no longer needed."""
        for number in [number for number in sorted(self._kept) if number < before]:
            self._delete(number)

    def retire(self) -> None:
        """Delete whole segments, oldest first, that are beyond what is to be kept; never the newest."""
        if self._running:
            self._running.save()
        with _put_off():
            for number, following in pairwise(sorted(self._kept)):
                reason = self._too_much() or self._too_old(following)
                if not reason:
                    return
                self._tell(number, following, reason)
                self._delete(number)

    def close(self) -> None:
        """Give the files and the claim back."""
        if self._limits.ahead_bytes:
            self._cut()
        if self._running:
            self._running.close()
        os.close(self._fd)
        os.close(self._folder)
        self._lock.close()

    def _delete(self, number: int) -> None:
        path = segment.path_of(self._directory, number)
        path.unlink(missing_ok=True)
        path.with_suffix(".damaged").unlink(missing_ok=True)
        del self._kept[number]

    def _tell(self, number: int, following: int, reason: str) -> None:
        path = segment.path_of(self._directory, number)
        first, last = (self._head(one).time for one in (number, following))
        size = self._kept[number]
        text = f"{path}: deleted, {size} bytes written from {_shown(first)} to {_shown(last)} by the clock; {reason}"
        log.record("INFO", "segment_deleted", text, BYTES=size)

    def _mark(self, producer: bytes, number: int) -> None:
        self.marks.pop(producer, None)  # put in anew, so that the order is that of the last use
        self.marks[producer] = number
        if len(self.marks) > self._limits.producers:
            del self.marks[next(iter(self.marks))]

    def _recover(self, number: int) -> bool:
        """Open the newest segment for appending, cut off behind its last whole commit; False if it has no head."""
        path = segment.path_of(self._directory, number)
        data = path.read_bytes()
        end = 0
        for end, records in segment.scan(data) if data.startswith(segment.MAGIC) else ():  # noqa: B007 -- used below
            self._remember(records)
        if tail := data[end:].rstrip(b"\0"):  # zeros were only there ahead of what was to come
            self._set_aside(path, tail)
        if not end:
            return self._without_head(number)
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._number, self._size = number, end
        self._cut()
        os.fsync(self._fd)  # what a killed process wrote but did not sync is about to be taken for durable
        self._kept[number] = end
        return True

    def _remember(self, records: list[segment.Record]) -> None:
        for record in records:
            if record.kind == segment.HEAD:
                self.marks, self._opened = segment.decode_head(record.payload), self._went_on_from(record.number / 1e6)
            elif record.producer != segment.NO_PRODUCER:
                self._mark(record.producer, record.number)

    def _went_on_from(self, running: float) -> float:
        """Return how long the log had been open when the newest segment was begun; now, if its head does not say so."""
        if not self._running:
            return 0.0
        self._running.at_least(running)
        return running or self._running.seconds

    def _without_head(self, number: int) -> bool:
        """Drop a segment that was being begun at the moment of a crash; the one before it is the newest then."""
        segment.path_of(self._directory, number).unlink()
        del self._kept[number]
        return bool(self._kept) and self._recover(max(self._kept))

    def _set_aside(self, path: Path, tail: bytes) -> None:
        damaged = path.with_suffix(".damaged")
        with damaged.open("ab") as file:  # behind what a former recovery of this segment has cut off
            file.write(tail)
            files.sync(file)
        text = f"{path.name}: the last {len(tail)} bytes are no whole commit (a crash while writing, or damage)"
        log.record("WARNING", "log_recovered", f"{text}; cut off and kept in {damaged.name}", BYTES=len(tail))

    def _begin_first(self, number: int) -> None:
        try:
            self._begin(number)
        except DiskFull as error:
            reason = f"state folder {self._directory}: {error}; make room or choose another with --state-dir"
            raise StateError(reason) from error

    def _begin(self, number: int) -> None:
        path = segment.path_of(self._directory, number)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        running = self._running.seconds if self._running else 0.0
        head = segment.encode_head(self.marks, int(time.time() * 1e6), int(running * 1e6))
        try:
            _write(fd, head)
            os.fsync(fd)
            os.fsync(self._folder)
        except OSError as error:
            os.close(fd)
            path.unlink()
            _raise_no_room(error)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._number, self._size, self._opened = fd, number, len(head), running
        self._allocated = self._size
        self._kept[number] = self._size

    def _allocate(self, length: int) -> None:
        """Make the segment longer ahead of what is to come; without room for that, it grows as it is written."""
        wanted = length + self._limits.ahead_bytes
        if self._limits.ahead_bytes:
            with suppress(OSError):
                os.posix_fallocate(self._fd, self._size, wanted)
        self._allocated = self._size + wanted  # asked for again only then, in either case

    def _cut(self) -> None:
        os.ftruncate(self._fd, self._size)
        os.lseek(self._fd, self._size, os.SEEK_SET)
        self._allocated = self._size

    def _rotate(self) -> None:
        try:
            with _put_off():
                self.begin_segment()
        except OSError as error:
            _raise_no_room(error)
        self.retire()

    def _aged(self) -> bool:
        """Tell whether to begin a segment: records are kept at most an eighth longer than configured."""
        return self._running is not None and self._running.seconds - self._opened > self._limits.keep_seconds / 8

    def _too_much(self) -> str:
        kept, keep = sum(self._kept.values()), self._limits.keep_bytes
        return f"{kept} bytes are kept, more than {keep}" if 0 < keep < kept else ""

    def _too_old(self, following: int) -> str:
        """Return why all before a segment is too old, nothing if it is not: it was written before that one's head."""
        if not self._running:
            return ""
        age, keep = self._running.seconds - self._begun(following), self._limits.keep_seconds
        if age <= keep:
            return ""
        return f"this log was open for {age / 86400:.6g} days since then, more than {keep / 86400:.6g} are not kept"

    def _begun(self, number: int) -> float:
        """Return how long the log had been open when a segment was begun; the next one, if its head does not say so."""
        for one in sorted(self._kept):
            if number <= one < self._number and (running := self._head(one).running):
                return running
        return self._opened

    def _head(self, number: int) -> segment.Begun:
        try:
            return segment.begun(segment.path_of(self._directory, number))
        except FileNotFoundError:  # deleted by another process
            return segment.Begun(0.0, None)


def _shown(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(seconds, 253_402_300_799)))


@contextmanager
def _put_off() -> Iterator[None]:
    """Leave for later what needs a descriptor while a flood of connections holds all that this process may have."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_DESCRIPTOR:
            raise


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _raise_no_room(error: OSError) -> None:
    if error.errno in _NO_ROOM:
        raise DiskFull(error.strerror) from error
    raise error
