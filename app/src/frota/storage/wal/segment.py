"""The format of a segment: a magic line, then commits, each all or nothing.

A commit is `crc32 | length | records`, a record `length | kind | time | producer | sequence | payload`, little-endian;
the checksum covers all that follows it. A segment starts with a commit of one HEAD record: the last sequence number of
every known producer, so that deduplication survives the deletion of old segments. The HEAD's own sequence field is the
log's age (µs in which it was open, 0 where unknown). A producer is 16 bytes (a UUID); records of NO_PRODUCER have no
sequence number.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

MAGIC = b"frota logbook 1\n"
NO_PRODUCER = bytes(16)
HEAD, DATA = 0, 1

_CRC = struct.Struct("<I")
_LENGTH = struct.Struct("<I")
_RECORD = struct.Struct("<IBQ16sQ")
_SEQUENCE = struct.Struct("<16sQ")
_FRAME = _CRC.size + _LENGTH.size


class Record(NamedTuple):
    """One record: kind, time of writing in µs since 1970, producer id, sequence number, payload."""

    kind: int
    time_us: int
    producer: bytes
    sequence: int
    payload: bytes


def encode_record(payload: bytes, time_us: int, producer: bytes, sequence: int, kind: int = DATA) -> bytes:
    """Return one record's bytes in a commit."""
    return _RECORD.pack(len(payload), kind, time_us, producer, sequence) + payload


def encode_commit(records: Iterable[bytes]) -> bytes:
    """Return the bytes on disk of records in one commit."""
    data = b"".join(records)
    data = _LENGTH.pack(len(data)) + data
    return _CRC.pack(crc32(data)) + data


def scan(data: bytes, offset: int = len(MAGIC)) -> Iterator[tuple[int, list[Record]]]:
    """Yield (end offset, records) of each commit until the data ends or a commit is torn or damaged.

    Commits have no start marker, so nothing after a damaged one can be found.
    """
    size = len(data)
    while offset + _FRAME <= size:
        (crc,), (length,) = _CRC.unpack_from(data, offset), _LENGTH.unpack_from(data, offset + _CRC.size)
        begin, end = offset + _FRAME, offset + _FRAME + length
        if end > size or crc != crc32(memoryview(data)[offset + _CRC.size : end]):
            return
        yield end, list(_records(data, begin, end))
        offset = end


def _records(data: bytes, offset: int, end: int) -> Iterator[Record]:
    while offset < end:
        length, kind, time_us, producer, sequence = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size + length
        yield Record(kind, time_us, producer, sequence, data[offset - length : offset])


def is_truncated(data: bytes, offset: int) -> bool:
    """Tell whether the commit at `offset` is shorter than its length field, as while it is being written."""
    if offset + _FRAME > len(data):
        return True
    return offset + _FRAME + int(_LENGTH.unpack_from(data, offset + _CRC.size)[0]) > len(data)


_NUMBER = re.compile("[0-9]{8,18}")  # as `path_of` writes it: a file of any other name is not ours


class SegmentStart(NamedTuple):
    """When a segment was started: wall clock (s since 1970), and the log's age then (s), None where unknown."""

    time: float
    log_age_s: float | None


def encode_head(last_sequences: Mapping[bytes, int], time_us: int, age_us: int = 0) -> bytes:
    """Return the start of a new segment: magic and HEAD, with the log's age in µs."""
    table = b"".join(_SEQUENCE.pack(*item) for item in last_sequences.items())
    return MAGIC + encode_commit([encode_record(table, time_us, NO_PRODUCER, age_us, HEAD)])


def decode_head(payload: bytes) -> dict[bytes, int]:
    """Return the last sequence number of every producer, the least recently used first."""
    return dict(_SEQUENCE.iter_unpack(payload))


def read_start(path: Path) -> SegmentStart:
    """Return when the segment was started; if its head is damaged, when the file was last written."""
    with path.open("rb") as file:
        beginning = file.read(len(MAGIC) + _FRAME)
        if len(beginning) == len(MAGIC) + _FRAME:
            beginning += file.read(_LENGTH.unpack_from(beginning, len(MAGIC) + _CRC.size)[0])
    for _, records in scan(beginning):
        return SegmentStart(records[0].time_us / 1e6, records[0].sequence / 1e6 or None)
    return SegmentStart(path.stat().st_mtime, None)


def path_of(directory: Path, number: int) -> Path:
    """Return where segment `number` is."""
    return directory / f"{number:08d}.segment"


def segment_numbers(directory: Path) -> list[int]:
    """Return the numbers of the segments in the folder, oldest first."""
    return sorted(int(path.stem) for path in directory.glob("*.segment") if _NUMBER.fullmatch(path.stem))
