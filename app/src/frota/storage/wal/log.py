"""The files of a write-ahead log: commit, recovery, rotation, retention. One owner, no threads, blocking calls."""

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
from frota.storage.wal.log_age import LogAge

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DESCRIPTORS_EXHAUSTED = (errno.EMFILE, errno.ENFILE)


class Limits(NamedTuple):
    """When a segment is rotated (bytes), and the retention (bytes; seconds; 0 keeps everything).

    Retention counts seconds in which the log was open, not the wall clock, which can be set forward by a month.
    """

    segment_bytes: int = 4 * 2**20
    retention_bytes: int = 0
    retention_s: float = 0
    max_producers: int = 10_000  # whose last sequence numbers are kept; the least recently used is evicted
    preallocated_bytes: int = 0  # allocated ahead of the data, so that fdatasync need not write the file's length


class DiskFull(Exception):
    """Nothing of this commit was stored: the disk, the quota or the file size limit is exhausted."""


class Position(NamedTuple):
    """The end of the durable part of the log."""

    segment: int
    offset: int


class LogFiles:
    """The log's folder, locked for this process. Raises core.errors.StateError when another process has the lock."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory, self._limits = directory, limits
        self._lock = state_folder.lock(directory)
        self._folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._fd = -1
        self._age = LogAge(directory) if limits.retention_s else None
        self.last_sequences: dict[bytes, int] = {}
        numbers = segment.segment_numbers(directory)
        self._sizes = {number: segment.path_of(directory, number).stat().st_size for number in numbers}
        if not (numbers and self._recover(numbers[-1])):
            self._create_first(numbers[0] if numbers else 1)
        self.apply_retention()

    @property
    def position(self) -> Position:
        """Where the next commit will start."""
        return Position(self._number, self._size)

    @property
    def size(self) -> int:
        """The size of all segments, in bytes; any thread may ask."""
        return sum(tuple(self._sizes.values()))

    def commit(self, data: bytes, sequences: Iterable[tuple[bytes, int]] = ()) -> None:
        """Make a commit durable, atomically. Raises DiskFull; after another OSError the file's state is unknown."""
        if self._size >= self._limits.segment_bytes or self._aged():
            self._rotate()
        if self._size + len(data) > self._allocated:
            self._allocate(len(data))
        try:
            files.write_all(self._fd, data)
        except OSError as error:
            self._trim()  # recovery must not read a torn commit as a whole one
            _raise_disk_full(error)
        os.fdatasync(self._fd)
        self._size += len(data)
        self._sizes[self._number] = self._size
        if self._age:
            self._age.save()
        for producer, sequence in sequences:
            self._note_sequence(producer, sequence)

    def begin_segment(self) -> int:
        """Start a new segment; return its number. Raises DiskFull or OSError, with nothing changed."""
        self._trim()  # only the newest segment may have preallocated space
        self._create(self._number + 1)
        return self._number

    def truncate_before(self, before: int) -> None:
        """Delete all segments with a lower number."""
        for number in [number for number in sorted(self._sizes) if number < before]:
            self._delete(number)

    def apply_retention(self) -> None:
        """Delete segments beyond the retention, oldest first; never the newest."""
        if self._age:
            self._age.save()
        with _deferred_without_descriptor():
            for number, following in pairwise(sorted(self._sizes)):
                reason = self._over_size() or self._over_age(following)
                if not reason:
                    return
                self._log_deletion(number, following, reason)
                self._delete(number)

    def close(self) -> None:
        """Close the files and release the lock."""
        if self._limits.preallocated_bytes:
            self._trim()
        if self._age:
            self._age.close()
        os.close(self._fd)
        os.close(self._folder)
        self._lock.close()

    def _delete(self, number: int) -> None:
        path = segment.path_of(self._directory, number)
        path.unlink(missing_ok=True)
        path.with_suffix(".damaged").unlink(missing_ok=True)
        del self._sizes[number]

    def _log_deletion(self, number: int, following: int, reason: str) -> None:
        path = segment.path_of(self._directory, number)
        first, last = (self._start_of(one).time for one in (number, following))
        size = self._sizes[number]
        written = f"{size} bytes written from {_format_time(first)} to {_format_time(last)} by the clock"
        log.record("INFO", "segment_deleted", f"{path}: deleted, {written}; {reason}", BYTES=size)

    def _note_sequence(self, producer: bytes, sequence: int) -> None:
        self.last_sequences.pop(producer, None)  # reinserted, so that the order is that of the last use
        self.last_sequences[producer] = sequence
        if len(self.last_sequences) > self._limits.max_producers:
            del self.last_sequences[next(iter(self.last_sequences))]

    def _recover(self, number: int) -> bool:
        """Open the newest segment for appending, truncated behind its last whole commit; False if it has no head."""
        path = segment.path_of(self._directory, number)
        data = path.read_bytes()
        end = 0
        for end, records in segment.scan(data) if data.startswith(segment.MAGIC) else ():  # noqa: B007 -- used below
            self._replay(records)
        if tail := data[end:].rstrip(b"\0"):  # zeros are preallocated space
            self._save_torn_tail(path, tail)
        if not end:
            return self._discard_torn_segment(number)
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._number, self._size = number, end
        self._trim()
        os.fsync(self._fd)  # a killed process may have written this without syncing it
        self._sizes[number] = end
        return True

    def _replay(self, records: list[segment.Record]) -> None:
        for record in records:
            if record.kind == segment.HEAD:
                self.last_sequences, self._opened = (
                    segment.decode_head(record.payload),
                    self._restore_age(record.sequence / 1e6),
                )
            elif record.producer != segment.NO_PRODUCER:
                self._note_sequence(record.producer, record.sequence)

    def _restore_age(self, age_s: float) -> float:
        """Return the log's age when the newest segment was started; its age now if the head does not say."""
        if not self._age:
            return 0.0
        self._age.raise_to(age_s)
        return age_s or self._age.seconds

    def _discard_torn_segment(self, number: int) -> bool:
        """Delete a segment whose start was torn by a crash, and recover the one before it."""
        segment.path_of(self._directory, number).unlink()
        del self._sizes[number]
        return bool(self._sizes) and self._recover(max(self._sizes))

    def _save_torn_tail(self, path: Path, tail: bytes) -> None:
        damaged = path.with_suffix(".damaged")
        with damaged.open("ab") as file:  # an earlier recovery of this segment may have saved some
            file.write(tail)
            files.sync(file)
        text = f"{path.name}: the last {len(tail)} bytes are a torn or damaged commit"
        log.record("WARNING", "log_recovered", f"{text}; truncated and saved in {damaged.name}", BYTES=len(tail))

    def _create_first(self, number: int) -> None:
        try:
            self._create(number)
        except DiskFull as error:
            reason = f"state folder {self._directory}: {error}; free disk space or choose another with --state-dir"
            raise StateError(reason) from error

    def _create(self, number: int) -> None:
        path = segment.path_of(self._directory, number)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        age_s = self._age.seconds if self._age else 0.0
        head = segment.encode_head(self.last_sequences, int(time.time() * 1e6), int(age_s * 1e6))
        try:
            files.write_all(fd, head)
            os.fsync(fd)
            os.fsync(self._folder)
        except OSError as error:
            os.close(fd)
            path.unlink()
            _raise_disk_full(error)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._number, self._size, self._opened = fd, number, len(head), age_s
        self._allocated = self._size
        self._sizes[number] = self._size

    def _allocate(self, length: int) -> None:
        """Preallocate space for the commits to come; on a full disk the segment grows with each write instead."""
        allocated = length + self._limits.preallocated_bytes
        if self._limits.preallocated_bytes:
            with suppress(OSError):
                os.posix_fallocate(self._fd, self._size, allocated)
        self._allocated = self._size + allocated  # also where it failed: not tried again for each commit

    def _trim(self) -> None:
        os.ftruncate(self._fd, self._size)
        os.lseek(self._fd, self._size, os.SEEK_SET)
        self._allocated = self._size

    def _rotate(self) -> None:
        try:
            with _deferred_without_descriptor():
                self.begin_segment()
        except OSError as error:
            _raise_disk_full(error)
        self.apply_retention()

    def _aged(self) -> bool:
        """Tell whether to rotate: records outlive the retention by one segment, at most an eighth of it."""
        return self._age is not None and self._age.seconds - self._opened > self._limits.retention_s / 8

    def _over_size(self) -> str:
        size, retention = sum(self._sizes.values()), self._limits.retention_bytes
        return f"the log has {size} bytes, its retention is {retention}" if 0 < retention < size else ""

    def _over_age(self, following: int) -> str:
        """Return why all before a segment exceeds the retention, or ""; it was written before that one's head."""
        if not self._age:
            return ""
        age, retention = self._age.seconds - self._age_at_start(following), self._limits.retention_s
        if age <= retention:
            return ""
        return f"the log was open for {age / 86400:.6g} days since then, its retention is {retention / 86400:.6g} days"

    def _age_at_start(self, number: int) -> float:
        """Return the log's age at the start of a segment, or of the next one whose head says it."""
        for one in sorted(self._sizes):
            if number <= one < self._number and (age := self._start_of(one).log_age_s):
                return age
        return self._opened

    def _start_of(self, number: int) -> segment.SegmentStart:
        try:
            return segment.read_start(segment.path_of(self._directory, number))
        except FileNotFoundError:  # deleted by another process
            return segment.SegmentStart(0.0, None)


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(seconds, 253_402_300_799)))


@contextmanager
def _deferred_without_descriptor() -> Iterator[None]:
    """Skip the block while connections use up all file descriptors; the next call tries again."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DESCRIPTORS_EXHAUSTED:
            raise


def _raise_disk_full(error: OSError) -> None:
    if error.errno in _DISK_FULL:
        raise DiskFull(error.strerror) from error
    raise error
