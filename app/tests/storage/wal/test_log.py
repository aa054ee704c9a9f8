"""The files of a log: committed records survive crashes, rotation and retention."""

import errno
import os
import stat
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frota.core.errors import StateError
from frota.storage.wal import segment
from frota.storage.wal.log import DiskFull, Limits, LogFiles
from frota.storage.wal.reader import Reader
from frota.storage.wal.segment import NO_PRODUCER, encode_commit, encode_record


def commit(store: LogFiles, *records: bytes, producer: bytes = NO_PRODUCER, sequence: int = 0) -> None:
    sequences = [(producer, sequence)] if producer != NO_PRODUCER else []
    store.commit(encode_commit([encode_record(payload, 1, producer, sequence) for payload in records]), sequences)


def payloads(folder: Path) -> list[bytes]:
    return [r.payload for number in segment.segment_numbers(folder) for r in Reader(folder).records(number)]


def reopened(folder: Path, limits: Limits | None = None) -> LogFiles:
    return LogFiles(folder, limits or Limits())


def test_reopened_log_continues(tmp_path: Path) -> None:
    """A reopened log has its records, and appends after them."""
    store = reopened(tmp_path)
    commit(store, b"one", b"two")
    store.close()
    store = reopened(tmp_path)
    commit(store, b"three")
    assert payloads(tmp_path) == [b"one", b"two", b"three"]
    store.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(cut=st.integers(0, 300))
def test_torn_write_loses_only_its_commit(tmp_path: Path, cut: int) -> None:
    """A torn write loses only its own commit."""
    folder = tmp_path / str(uuid4())
    store = reopened(folder)
    for number in range(3):
        commit(store, b"%d" % number * 30)
    path = segment.path_of(folder, 1)
    ends = [end for end, _ in segment.scan(path.read_bytes())][1:]
    store.close()
    os.truncate(path, min(cut, ends[-1]))
    store = reopened(folder)
    commit(store, b"next")
    whole = sum(end <= cut for end in ends)
    assert payloads(folder) == [b"%d" % number * 30 for number in range(whole)] + [b"next"]
    store.close()


def test_damaged_bytes_are_saved(tmp_path: Path) -> None:
    """The bytes from the damage on, in the newest segment, are saved to a file."""
    store = reopened(tmp_path)
    commit(store, b"first")
    damage = store.position.offset
    commit(store, b"second")
    store.close()
    path = segment.path_of(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[damage + 20] ^= 1
    path.write_bytes(data)
    reopened(tmp_path).close()
    assert payloads(tmp_path) == [b"first"]
    assert path.with_suffix(".damaged").read_bytes() == data[damage:]


def test_full_disk_at_the_start_has_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot begin on a full disk raises StateError with the fix."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateError, match="No space left on device; free disk space"):
        LogFiles(tmp_path, Limits())
    assert segment.segment_numbers(tmp_path) == []


def test_saved_bytes_survive_the_next_recovery(tmp_path: Path) -> None:
    """A recovery keeps the bytes that a former one saved."""
    reopened(tmp_path).close()
    path = segment.path_of(tmp_path, 1)
    for tail in (b"first", b"second"):
        path.write_bytes(path.read_bytes() + tail)
        reopened(tmp_path).close()
    assert path.with_suffix(".damaged").read_bytes() == b"firstsecond"


def test_segment_with_a_torn_header_is_deleted(tmp_path: Path) -> None:
    """A segment with a torn header is deleted, and the log continues before it."""
    store = reopened(tmp_path)
    commit(store, b"one")
    store.close()
    segment.path_of(tmp_path, 2).write_bytes(segment.MAGIC[:5])
    store = reopened(tmp_path)
    commit(store, b"two")
    assert payloads(tmp_path) == [b"one", b"two"]
    assert segment.segment_numbers(tmp_path) == [1]
    store.close()


def test_retention_by_bytes_keeps_sequence_numbers(tmp_path: Path) -> None:
    """Retention by bytes deletes the oldest segments, but no producer's last sequence number."""
    limits = Limits(segment_bytes=300, retention_bytes=1000)
    store = LogFiles(tmp_path, limits)
    producer = uuid4().bytes
    commit(store, b"sequenced", producer=producer, sequence=41)
    for number in range(40):
        commit(store, b"%04d" % number * 20)
    assert segment.segment_numbers(tmp_path)[0] > 1
    assert 600 < sum(path.stat().st_size for path in tmp_path.glob("*.segment")) <= 1300
    assert b"sequenced" not in payloads(tmp_path)
    assert payloads(tmp_path)[-1] == b"0039" * 20
    store.close()
    store = LogFiles(tmp_path, limits)
    assert store.last_sequences[producer] == 41
    store.close()


def test_idle_producer_is_forgotten_first(tmp_path: Path) -> None:
    """Above max_producers, the producer that was idle longest is forgotten."""
    store = LogFiles(tmp_path, Limits(max_producers=2))
    first, second, third = (uuid4().bytes for _ in range(3))
    for producer, sequence in ((first, 1), (second, 1), (first, 2), (third, 1)):
        commit(store, b"x", producer=producer, sequence=sequence)
    assert store.last_sequences == {first: 2, third: 1}
    store.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_partial_commit_is_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A commit that fills the disk is truncated, and the next one succeeds."""
    store = reopened(tmp_path)
    commit(store, b"one")
    write = os.write

    def write_half(fd: int, data: memoryview) -> int:
        if len(data) < 10:
            raise OSError(code, os.strerror(code))
        return write(fd, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_half)
        with pytest.raises(DiskFull):
            commit(store, b"two")
    assert payloads(tmp_path) == [b"one"]
    commit(store, b"three")
    assert payloads(tmp_path) == [b"one", b"three"]
    store.close()


def test_full_disk_creates_no_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that needs a new segment on a full disk fails without leaving a file."""
    store = LogFiles(tmp_path, Limits(segment_bytes=1))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskFull):
            commit(store, b"one")
    assert segment.segment_numbers(tmp_path) == [1]
    commit(store, b"two")
    assert payloads(tmp_path) == [b"two"]
    store.close()


def test_failed_sync_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed sync raises OSError, not DiskFull."""
    store = reopened(tmp_path)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(OSError, match="broken"):
        commit(store, b"one")
    store.close()


def test_new_segment_is_synced_before_its_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new segment and its folder are synced before its first commit."""
    calls: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: calls.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
    )
    monkeypatch.setattr(os, "fdatasync", lambda _: calls.append("commit"))
    store = LogFiles(tmp_path, Limits(segment_bytes=1))
    commit(store, b"one")
    assert calls == ["file", "folder"] * 2 + ["commit"]
    store.close()


def test_second_owner_is_rejected(tmp_path: Path) -> None:
    """A second owner is rejected with the process id of the first."""
    store = reopened(tmp_path)
    with pytest.raises(StateError, match=f"in use by process {os.getpid()}"):
        reopened(tmp_path)
    store.close()


def test_full_segment_grows_without_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full segment grows further while no file can be opened."""

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    store = LogFiles(tmp_path, Limits(segment_bytes=100, retention_s=3600))
    commit(store, b"one" * 50)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        patch.setattr(segment, "read_start", fail)
        commit(store, b"two")
        store.apply_retention()
    assert segment.segment_numbers(tmp_path) == [1]
    commit(store, b"three")
    store.apply_retention()
    assert segment.segment_numbers(tmp_path) == [1, 2]
    assert payloads(tmp_path) == [b"one" * 50, b"two", b"three"]
    store.close()


PREALLOCATED = Limits(segment_bytes=1000, preallocated_bytes=4096)


def test_preallocated_zeros_are_no_damage(tmp_path: Path) -> None:
    """The preallocated zeros of a segment are no damage after a crash."""
    store = reopened(tmp_path, PREALLOCATED)
    commit(store, b"one")
    path = segment.path_of(tmp_path, 1)
    crashed = path.read_bytes()
    assert len(crashed) > store.position.offset + 3000
    store.close()
    assert path.stat().st_size == store.position.offset
    path.write_bytes(crashed)
    store = reopened(tmp_path, PREALLOCATED)
    commit(store, b"two")
    assert [record.payload for record in Reader(tmp_path, store.position).records(1)] == [b"one", b"two"]
    assert list(tmp_path.glob("*.damaged")) == []
    store.close()
    assert payloads(tmp_path) == [b"one", b"two"]


def test_torn_commit_is_saved_without_zeros(tmp_path: Path) -> None:
    """A torn commit in a preallocated segment is saved without the zeros after it."""
    store = reopened(tmp_path, PREALLOCATED)
    commit(store, b"one")
    path, end = segment.path_of(tmp_path, 1), store.position.offset
    torn = encode_commit([encode_record(b"two", 1, NO_PRODUCER, 0)])[:20]
    crashed = path.read_bytes()
    store.close()
    path.write_bytes(crashed[:end] + torn + crashed[end + 20 :])
    store = reopened(tmp_path, PREALLOCATED)
    assert path.with_suffix(".damaged").read_bytes() == torn.rstrip(b"\0")
    store.close()
    assert payloads(tmp_path) == [b"one"]


def test_only_the_newest_segment_is_preallocated(tmp_path: Path) -> None:
    """Only the newest segment has preallocated zeros."""
    store = reopened(tmp_path, PREALLOCATED)
    for _ in range(20):
        commit(store, b"x" * 100)
    numbers = segment.segment_numbers(tmp_path)
    assert len(numbers) > 2
    for number in numbers[:-1]:
        data = segment.path_of(tmp_path, number).read_bytes()
        assert [end for end, _ in segment.scan(data)][-1] == len(data)
    store.close()


def test_failed_preallocation_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that cannot be preallocated grows with each write."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    store = reopened(tmp_path, PREALLOCATED)
    commit(store, b"one")
    commit(store, b"two")
    store.close()
    assert payloads(tmp_path) == [b"one", b"two"]
