"""Readers of a log that is being written, or is damaged: all readable records, and reports of the damage."""

from pathlib import Path

import pytest

from frota.storage.wal import segment
from frota.storage.wal.log import Limits, LogFiles, Position
from frota.storage.wal.reader import Damage, Reader
from frota.storage.wal.segment import NO_PRODUCER, encode_commit, encode_record


def write(folder: Path, count: int) -> Position:
    """Write commits of 10 bytes of payload, three to a segment; return where the log ends."""
    store = LogFiles(folder, Limits(segment_bytes=200))
    for number in range(count):
        store.commit(encode_commit([encode_record(b"%02d" % number * 5, 1, NO_PRODUCER, 0)]))
    end = store.position
    store.close()
    return end


def read(folder: Path, until: Position | None = None) -> tuple[list[int], list[Damage]]:
    damages: list[Damage] = []
    reader = Reader(folder, until, damages.append)
    payloads = [record.payload for number in segment.segment_numbers(folder) for record in reader.records(number)]
    return [int(payload[:2]) for payload in payloads], damages


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_last_records_span_segments(tmp_path: Path) -> None:
    """The last records are found from the end, across segments."""
    write(tmp_path, 20)
    reader = Reader(tmp_path)
    numbers, skip = reader.find_last(7, lambda _: 1)
    numbers_read = [int(record.payload[:2]) for number in numbers for record in reader.records(number)][skip:]
    assert numbers_read == list(range(13, 20))
    assert len(numbers) < len(segment.segment_numbers(tmp_path))


@pytest.mark.parametrize("known_end", [True, False])
def test_damage_skips_the_rest_of_a_segment(tmp_path: Path, known_end: bool) -> None:
    """Damage in an older segment skips the rest of that segment, and is reported."""
    end = write(tmp_path, 9)
    path = segment.path_of(tmp_path, 2)
    ends = [end for end, _ in segment.scan(path.read_bytes())]
    flip(path, ends[1] + 20)
    damage = Damage(path, ends[1], ends[-1] - ends[1])
    assert read(tmp_path, end if known_end else None) == ([0, 1, 2, 3, 6, 7, 8], [damage])
    assert str(damage) == f"{path}: {damage.length} bytes, from offset {ends[1]} to the end, are damaged and skipped"


def test_damaged_header_skips_the_segment(tmp_path: Path) -> None:
    """A segment with a damaged header is skipped and reported as a whole."""
    write(tmp_path, 6)
    path = segment.path_of(tmp_path, 1)
    flip(path, 0)
    assert read(tmp_path) == ([3, 4, 5], [Damage(path, 0, path.stat().st_size)])


def test_unfinished_commit_is_no_damage(tmp_path: Path) -> None:
    """An unfinished commit at the end of the newest segment is no damage."""
    write(tmp_path, 3)
    path = segment.path_of(tmp_path, 1)
    whole = path.read_bytes()
    before = [end for end, _ in segment.scan(whole)][-2]
    for cut in range(before, len(whole)):
        path.write_bytes(whole[:cut])
        assert read(tmp_path) == ([0, 1], [])


def test_damage_in_the_newest_segment_is_reported(tmp_path: Path) -> None:
    """Damage in the newest segment is reported too."""
    end = write(tmp_path, 3)
    path = segment.path_of(tmp_path, 1)
    flip(path, end.offset - 1)
    for until in (None, end):
        numbers_read, damages = read(tmp_path, until)
        assert numbers_read == [0, 1]
        assert [damage.path for damage in damages] == [path]
