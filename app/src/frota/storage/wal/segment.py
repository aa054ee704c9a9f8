"""The format of a segment: a magic line, then commits, each all or nothing.

A commit is `crc32 | length | records`, a record `length | kind | time | producer | number | payload`, little-endian;
the checksum covers all that follows it. A segment begins with a commit of one HEAD record: the last number of every
known producer, so that deleting old segments forgets no number; its own number says for how long the log had been open
(µs, 0 where unknown). A producer is 16 bytes (a UUID) that numbers its records; NO_PRODUCER does not number.
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
_MARK = struct.Struct("<16sQ")
_FRAME = _CRC.size + _LENGTH.size


class Record(NamedTuple):
    """One record: kind, time of writing in µs since 1970, producer, the producer's number, payload."""

    kind: int
    time_us: int
    producer: bytes
    number: int
    payload: bytes


def encode_record(payload: bytes, time_us: int, producer: bytes, number: int, kind: int = DATA) -> bytes:
    """Return one record's bytes in a commit."""
    return _RECORD.pack(len(payload), kind, time_us, producer, number) + payload


def encode_commit(records: Iterable[bytes]) -> bytes:
    """Return the bytes on disk of records that are committed together."""
    data = b"".join(records)
    data = _LENGTH.pack(len(data)) + data
    return _CRC.pack(crc32(data)) + data


def scan(data: bytes, offset: int = len(MAGIC)) -> Iterator[tuple[int, list[Record]]]:
    """Yield (end offset, records) of each commit until the data ends or a commit is cut off or damaged.

    Nothing but its place marks the beginning of a commit, so what follows a damaged one cannot be told from it.
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
        length, kind, time_us, producer, number = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size + length
        yield Record(kind, time_us, producer, number, data[offset - length : offset])


def is_cut_off(data: bytes, offset: int) -> bool:
    """Tell whether what begins at `offset` ends before the length that it has itself, as while it is being written."""
    if offset + _FRAME > len(data):
        return True
    return offset + _FRAME + int(_LENGTH.unpack_from(data, offset + _CRC.size)[0]) > len(data)


_NUMBER = re.compile("[0-9]{8,18}")  # as `path_of` writes it: a file of any other name is not ours


class Begun(NamedTuple):
    """When a segment was begun: by the clock (s since 1970); after so many seconds of an open log, None if unknown."""

    time: float
    running: float | None


def encode_head(marks: Mapping[bytes, int], time_us: int, running_us: int = 0) -> bytes:
    """Return the beginning of a new segment: magic and HEAD, whose number says how long the log had been open (µs)."""
    table = b"".join(_MARK.pack(*mark) for mark in marks.items())
    return MAGIC + encode_commit([encode_record(table, time_us, NO_PRODUCER, running_us, HEAD)])


def decode_head(payload: bytes) -> dict[bytes, int]:
    """Return the last number of every producer, the one that wrote longest ago first."""
    return dict(_MARK.iter_unpack(payload))


def begun(path: Path) -> Begun:
    """Return when the segment was begun; when it was last written, if its head is damaged."""
    with path.open("rb") as file:
        beginning = file.read(len(MAGIC) + _FRAME)
        if len(beginning) == len(MAGIC) + _FRAME:
            beginning += file.read(_LENGTH.unpack_from(beginning, len(MAGIC) + _CRC.size)[0])
    for _, records in scan(beginning):
        return Begun(records[0].time_us / 1e6, records[0].number / 1e6 or None)
    return Begun(path.stat().st_mtime, None)


def path_of(directory: Path, number: int) -> Path:
    """Return where segment `number` is."""
    return directory / f"{number:08d}.segment"


def listed(directory: Path) -> list[int]:
    """Return the numbers of the segments in the folder, oldest first."""
    return sorted(int(path.stem) for path in directory.glob("*.segment") if _NUMBER.fullmatch(path.stem))
