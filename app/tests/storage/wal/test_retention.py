"""Old segments are deleted by the time that the log was open, whatever clocks say; each deletion is logged."""

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
    """The two clocks of a machine: one that is set, one that only goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 1000.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(log_age, "time", SimpleNamespace(monotonic=lambda: self.monotonic))

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
def store(tmp_path: Path, clocks: Clocks) -> Iterator[LogFiles]:
    """Give a log of two segments that are not old."""
    assert clocks
    one = LogFiles(tmp_path, LIMITS)
    commit(one, b"old")
    clocks.go_on(50)
    commit(one, b"new")
    assert segment.segment_numbers(tmp_path) == [1, 2]
    yield one
    one.close()


def commit(store: LogFiles, payload: bytes) -> None:
    store.commit(encode_commit([encode_record(payload, 1, NO_PRODUCER, 0)]))


def kept(folder: Path) -> list[bytes]:
    return [r.payload for number in segment.segment_numbers(folder) for r in Reader(folder).records(number)]


def test_what_was_followed_by_a_segment_that_is_old_enough_is_deleted(
    tmp_path: Path, store: LogFiles, clocks: Clocks
) -> None:
    clocks.go_on(79)
    store.apply_retention()
    assert kept(tmp_path) == [b"old", b"new"]
    clocks.go_on(2)
    commit(store, b"newest")
    assert kept(tmp_path) == [b"new", b"newest"]


@pytest.mark.parametrize("leap", [MONTH, -MONTH, 1e10, -1.8e9])
def test_a_clock_that_leaps_for_a_moment_deletes_nothing(
    tmp_path: Path, store: LogFiles, clocks: Clocks, leap: float
) -> None:
    for _ in range(3):
        clocks.wall += leap
        commit(store, b"meanwhile")
        store.apply_retention()
        clocks.wall -= leap
        commit(store, b"after")
        store.apply_retention()
    assert kept(tmp_path) == [b"old", b"new", *[b"meanwhile", b"after"] * 3]


@pytest.mark.parametrize("leap", [MONTH, -MONTH])
def test_a_clock_that_is_wrong_at_boot_and_put_right_later_deletes_nothing(
    tmp_path: Path, store: LogFiles, clocks: Clocks, leap: float
) -> None:
    for step in (leap, -leap):
        store.close()
        clocks.wall += step
        clocks.monotonic = 5.0  # since this boot
        store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
        commit(store, b"more")
        store.apply_retention()
    clocks.wall += leap
    store.apply_retention()
    assert kept(tmp_path) == [b"old", b"new", b"more", b"more"]


def test_segments_that_were_begun_while_the_clock_was_wrong_are_deleted_in_their_turn_too(
    tmp_path: Path, store: LogFiles, clocks: Clocks
) -> None:
    clocks.wall += MONTH
    clocks.go_on(20)
    commit(store, b"ahead")
    clocks.wall -= MONTH
    clocks.go_on(20)
    commit(store, b"right")
    assert segment.segment_numbers(tmp_path) == [1, 2, 3, 4]
    clocks.go_on(81)
    store.apply_retention()
    assert kept(tmp_path) == [b"right"]


def test_time_is_counted_over_restarts_as_far_as_the_log_was_open(
    tmp_path: Path, store: LogFiles, clocks: Clocks
) -> None:
    for _ in range(3):
        store.close()
        clocks.go_on(MONTH)  # while nobody has it open
        clocks.monotonic = 5.0
        store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
        assert kept(tmp_path) == [b"old", b"new"]
        clocks.go_on(26)
    clocks.go_on(3)
    store.apply_retention()
    assert kept(tmp_path) == [b"new"]


def test_a_crash_costs_a_minute_of_the_count_at_most(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    for _ in range(20):
        clocks.go_on(3)
        store.apply_retention()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    crashed = LogFiles(copy, LIMITS)
    clocks.go_on(81 - 60 + 60)
    crashed.apply_retention()
    assert segment.segment_numbers(copy) == [2]
    crashed.close()


@pytest.mark.parametrize(
    "content", [None, b"", b"nonsense", b"9999999999.000 99", b"nan nan", b"1e300 1e300", b"-5 -5", b"\xff" * 42]
)
def test_a_count_that_is_lost_or_damaged_deletes_nothing_too_early(
    tmp_path: Path, store: LogFiles, clocks: Clocks, content: bytes | None
) -> None:
    store.close()
    path = tmp_path / "running"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
    assert kept(tmp_path) == [b"old", b"new"]
    clocks.go_on(81)
    store.apply_retention()
    assert kept(tmp_path) == [b"new"]


def test_segments_that_do_not_say_how_long_the_log_was_open_are_taken_for_newer_not_for_older(
    tmp_path: Path, store: LogFiles, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks.go_on(70)
    encode = segment.encode_head
    with monkeypatch.context() as older:  # a version that wrote no such number, after a rollback
        older.setattr(segment, "encode_head", lambda sequences, time_us, _=0: encode(sequences, time_us))
        store.begin_segment()
        commit(store, b"by an older version")
        store.close()
    store.__init__(tmp_path, LIMITS)  # type: ignore[misc]  # the fixture closes it
    store.apply_retention()
    assert kept(tmp_path) == [b"old", b"new", b"by an older version"]
    clocks.go_on(81)
    commit(store, b"newest")
    assert kept(tmp_path) == [b"new", b"by an older version", b"newest"]
    clocks.go_on(81)
    store.apply_retention()
    assert kept(tmp_path) == [b"newest"]


def test_a_damaged_head_deletes_nothing_before_its_time(tmp_path: Path, store: LogFiles, clocks: Clocks) -> None:
    following = segment.path_of(tmp_path, 2)
    data = bytearray(following.read_bytes())
    data[30] ^= 255
    following.write_bytes(data)
    os.utime(following, (1, 1))
    clocks.go_on(20)
    commit(store, b"newest")
    clocks.go_on(79)
    store.apply_retention()
    assert segment.segment_numbers(tmp_path) == [1, 2, 3]
    clocks.go_on(2)
    store.apply_retention()
    assert segment.segment_numbers(tmp_path) == [3]


def test_a_segment_that_somebody_has_deleted_by_hand_stops_no_retention(
    tmp_path: Path, store: LogFiles, clocks: Clocks
) -> None:
    clocks.go_on(20)
    commit(store, b"newest")
    for number in (1, 2):
        segment.path_of(tmp_path, number).unlink()
    clocks.go_on(81)
    store.apply_retention()
    commit(store, b"more")
    assert kept(tmp_path) == [b"newest", b"more"]


def test_each_deletion_says_what_was_deleted_and_why(
    tmp_path: Path, store: LogFiles, clocks: Clocks, capfd: pytest.CaptureFixture[str]
) -> None:
    log.configure("sensors", "test")
    size = segment.path_of(tmp_path, 1).stat().st_size
    clocks.go_on(86400)
    store.apply_retention()
    said = capfd.readouterr().err
    assert said.count("deleted") == 1
    assert f"{segment.path_of(tmp_path, 1)}: deleted, {size} bytes written from 2027-01-15 08:00:00 UTC to" in said
    assert "the log was open for 1 days since then" in said


def test_a_deletion_for_want_of_room_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("sensors", "test")
    store = LogFiles(tmp_path, Limits(segment_bytes=200, retention_bytes=400))
    for _ in range(4):
        commit(store, b"x" * 150)
    store.close()
    said = capfd.readouterr().err
    assert said.count("segment: deleted, ") == 4 - len(segment.segment_numbers(tmp_path)) > 0
    assert "bytes, its retention is 400" in said


def test_history_since_a_moment_finds_what_was_written_before_the_clock_was_set_back(
    tmp_path: Path, store: LogFiles, clocks: Clocks
) -> None:
    clocks.go_on(1)
    moment = clocks.wall
    store.begin_segment()
    commit(store, b"before")
    clocks.wall -= MONTH
    store.begin_segment()
    commit(store, b"after")
    numbers, _ = Reader(tmp_path).find_last(100, lambda _: 1, since=moment)
    assert numbers == [2, 3, 4]
