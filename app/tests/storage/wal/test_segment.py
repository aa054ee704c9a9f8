"""A damaged or truncated segment reads as a prefix of its commits, never as other records."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.storage.wal import segment
from frota.storage.wal.segment import NO_PRODUCER, encode_commit, encode_head, encode_record, scan

payloads = st.lists(st.binary(max_size=40), min_size=1, max_size=4)


def segment_bytes(commits: list[list[bytes]]) -> bytes:
    head = encode_head({}, 1)
    return head + b"".join(encode_commit([encode_record(p, 1, NO_PRODUCER, 0) for p in commit]) for commit in commits)


def read(data: bytes) -> list[list[bytes]]:
    return [[record.payload for record in records if record.kind == segment.DATA] for _, records in scan(data)][1:]


@given(st.lists(payloads, max_size=5), st.data())
def test_truncated_segment_has_whole_commits(commits: list[list[bytes]], data: st.DataObject) -> None:
    """A segment truncated anywhere reads as its first whole commits."""
    whole = segment_bytes(commits)
    cut = data.draw(st.integers(0, len(whole)))
    prefix = read(whole[:cut])
    assert prefix == commits[: len(prefix)]
    assert cut < len(whole) or prefix == commits


@given(st.lists(payloads, max_size=5), st.data())
def test_damaged_segment_has_whole_commits(commits: list[list[bytes]], data: st.DataObject) -> None:
    """A segment with a changed byte reads as its first whole commits."""
    whole = bytearray(segment_bytes(commits))
    place = data.draw(st.integers(len(segment.MAGIC), len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    prefix = read(bytes(whole))
    assert prefix == commits[: len(prefix)]
    assert len(prefix) < max(1, len(commits))


def test_zeros_are_no_record() -> None:
    """Zeros, which a crash may leave, are no record."""
    assert read(segment_bytes([[b"one"]]) + bytes(4096)) == [[b"one"]]


@pytest.mark.parametrize(
    "name", ["\u00b2", "\u0663", "3", "-0000001", "00000003.bak", "\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2\u00b2"]
)
def test_other_file_names_are_ignored(tmp_path: Path, name: str) -> None:
    """Only a file named by eight ASCII digits is a segment."""
    (tmp_path / f"{name}.segment").touch()
    segment.path_of(tmp_path, 7).touch()
    assert segment.segment_numbers(tmp_path) == [7]
