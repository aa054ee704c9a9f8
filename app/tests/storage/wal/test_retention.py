"""Old segments are deleted by the time that the log was open, not by the clock; deletions are logged."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from frota.logs import log
from frota.storage.wal import log_age, segment
from frota.storage.wal.log import Limits, LogFiles
from frota.storage.wal.reader import Reader
from frota.storage.wal.segment import NO_PRODUCER, encode_commit, encode_record

MONTH = 31 * 86400.0
LIMITS = Limits(retention_s=80)


class Clocks:
    """The wall clock, which can be set, and the monotonic clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 1000.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(log_age, "time", SimpleNamespace(monotonic=lambda: self.monotonic))

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
def store(tmp_path: Path, clocks: Clocks) -> Iterator[LogFiles]:
    """Give a log of two recent segments."""
    assert clocks
    store = LogFiles(tmp_path, LIMITS)
    commit(store, b"old")
    clocks.advance(50)
    commit(store, b"new")
    assert segment.segment_numbers(tmp_path) == [1, 2]
    yield store
    store.close()


def commit(store: LogFiles, payload: bytes) -> None:
    store.commit(encode_commit([encode_record(payload, 1, NO_PRODUCER, 0)]))


def payloads(folder: Path) -> list[bytes]:
    return [r.payload for number in segment.segment_numbers(folder) for r in Reader(folder).records(number)]


def test_old_segment_is_deleted(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    """A segment is deleted when the one after it is older than the retention."""
    clocks.advance(79)
    store.apply_retention()
    assert payloads(tmp_path) == [b"old", b"new"]
    clocks.advance(2)
    commit(store, b"newest")
    assert payloads(tmp_path) == [b"new", b"newest"]


@pytest.mark.parametrize("leap", [MONTH, -MONTH, 1e10, -1.8e9])
def test_clock_leap_deletes_nothing(tmp_path: Path, store: LogFiles, clocks: Clocks, leap: float) -> None:
    """A clock that leaps and returns deletes nothing."""
    for _ in range(3):
        clocks.wall += leap
        commit(store, b"meanwhile")
        store.apply_retention()
        clocks.wall -= leap
        commit(store, b"after")
        store.apply_retention()
    assert payloads(tmp_path) == [b"old", b"new", *[b"meanwhile", b"after"] * 3]


@pytest.mark.parametrize("leap", [MONTH, -MONTH])
def test_wrong_clock_at_boot_deletes_nothing(tmp_path: Path, store: LogFiles, clocks: Clocks, leap: float) -> None:
    """A clock that is wrong at boot and corrected later deletes nothing."""
    for step in (leap, -leap):
        store.close()
        clocks.wall += step
        clocks.monotonic = 5.0  # since this boot
        store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
        commit(store, b"more")
        store.apply_retention()
    clocks.wall += leap
    store.apply_retention()
    assert payloads(tmp_path) == [b"old", b"new", b"more", b"more"]


def test_segments_of_a_wrong_clock_are_deleted(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    """Segments that were created while the clock was wrong are deleted in their turn."""
    clocks.wall += MONTH
    clocks.advance(20)
    commit(store, b"ahead")
    clocks.wall -= MONTH
    clocks.advance(20)
    commit(store, b"right")
    assert segment.segment_numbers(tmp_path) == [1, 2, 3, 4]
    clocks.advance(81)
    store.apply_retention()
    assert payloads(tmp_path) == [b"right"]


def test_age_counts_while_the_log_is_open(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    """The age of a segment is counted across restarts, only while the log is open."""
    for _ in range(3):
        store.close()
        clocks.advance(MONTH)  # while the log is closed
        clocks.monotonic = 5.0
        store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
        assert payloads(tmp_path) == [b"old", b"new"]
        clocks.advance(26)
    clocks.advance(3)
    store.apply_retention()
    assert payloads(tmp_path) == [b"new"]


def test_crash_loses_a_minute_of_age(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    """A crash loses at most a minute of the counted age."""
    for _ in range(20):
        clocks.advance(3)
        store.apply_retention()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    crashed = LogFiles(copy, LIMITS)
    clocks.advance(81 - 60 + 60)
    crashed.apply_retention()
    assert segment.segment_numbers(copy) == [2]
    crashed.close()


@pytest.mark.parametrize(
    "content", [None, b"", b"nonsense", b"9999999999.000 99", b"nan nan", b"1e300 1e300", b"-5 -5", b"\xff" * 42]
)
def test_damaged_age_deletes_nothing_early(
    tmp_path: Path, store: LogFiles, clocks: Clocks, content: bytes | None
) -> None:
    """A lost or damaged age file deletes nothing too early."""
    store.close()
    path = tmp_path / "running"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
    assert payloads(tmp_path) == [b"old", b"new"]
    clocks.advance(81)
    store.apply_retention()
    assert payloads(tmp_path) == [b"new"]


def test_segment_without_age_counts_as_new(
    tmp_path: Path, store: LogFiles, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment without a counted age, as older versions write, counts as new."""
    clocks.advance(70)
    encode = segment.encode_head
    with monkeypatch.context() as older:  # a version that wrote no age, after a rollback
        older.setattr(segment, "encode_head", lambda sequences, time_us, _=0: encode(sequences, time_us))
        store.begin_segment()
        commit(store, b"by an older version")
        store.close()
    store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
    store.apply_retention()
    assert payloads(tmp_path) == [b"old", b"new", b"by an older version"]
    clocks.advance(81)
    commit(store, b"newest")
    assert payloads(tmp_path) == [b"new", b"by an older version", b"newest"]
    clocks.advance(81)
    store.apply_retention()
    assert payloads(tmp_path) == [b"newest"]


def test_damaged_header_deletes_nothing_early(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    """A damaged header deletes nothing too early."""
    following = segment.path_of(tmp_path, 2)
    data = bytearray(following.read_bytes())
    data[30] ^= 255
    following.write_bytes(data)
    os.utime(following, (1, 1))
    clocks.advance(20)
    commit(store, b"newest")
    clocks.advance(79)
    store.apply_retention()
    assert segment.segment_numbers(tmp_path) == [1, 2, 3]
    clocks.advance(2)
    store.apply_retention()
    assert segment.segment_numbers(tmp_path) == [3]


def test_missing_segment_does_not_stop_retention(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    """A segment that was deleted by hand does not stop the retention."""
    clocks.advance(20)
    commit(store, b"newest")
    for number in (1, 2):
        segment.path_of(tmp_path, number).unlink()
    clocks.advance(81)
    store.apply_retention()
    commit(store, b"more")
    assert payloads(tmp_path) == [b"newest", b"more"]


def test_deletion_is_logged_with_its_reason(
    tmp_path: Path, store: LogFiles, clocks: Clocks, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each deletion is logged with the file, its size, its period and the reason."""
    log.configure("sensors", "test")
    size = segment.path_of(tmp_path, 1).stat().st_size
    clocks.advance(86400)
    store.apply_retention()
    stderr = capfd.readouterr().err
    assert stderr.count("deleted") == 1
    assert f"{segment.path_of(tmp_path, 1)}: deleted, {size} bytes written from 2027-01-15 08:00:00 UTC to" in stderr
    assert "the log was open for 1 days since then" in stderr


def test_deletion_by_size_is_logged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A deletion by size is logged with the limit."""
    log.configure("sensors", "test")
    store = LogFiles(tmp_path, Limits(segment_bytes=200, retention_bytes=400))
    for _ in range(4):
        commit(store, b"x" * 150)
    store.close()
    stderr = capfd.readouterr().err
    assert stderr.count("segment: deleted, ") == 4 - len(segment.segment_numbers(tmp_path)) > 0
    assert "bytes, its retention is 400" in stderr


def test_history_survives_a_clock_set_back(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    """History since a time includes what was written before the clock was set back."""
    clocks.advance(1)
    moment = clocks.wall
    store.begin_segment()
    commit(store, b"before")
    clocks.wall -= MONTH
    store.begin_segment()
    commit(store, b"after")
    numbers, _ = Reader(tmp_path).find_last(100, lambda _: 1, since=moment)
    assert numbers == [2, 3, 4]
