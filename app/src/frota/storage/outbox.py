"""An outbox: records on disk until the receiver acknowledges them, numbered, in order, bounded.

One append-only file of lines, `<crc32 of the rest, 8 hexadecimal digits> <kind> <number> <payload>`. Kinds:

    +    a record
    -    no payload: all records up to the number are acknowledged, or dropped
    =    the owner's facts, a JSON object; no number up to this one is used again

A damaged line does not hide those after it. Small imports only: the CPU agent uses this module.
"""

import json
import os
from array import array
from binascii import crc32
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path

from frota.storage import files

COMPACT_BYTES = 64 * 1024

Fact = str | int


class Outbox:
    """The outbox in a file, which exists from the first write; its owner holds the state folder's lock.

    `last`: the highest number used. `damaged`: lines that were skipped; a copy of their file has the suffix `.bad`.
    At most `max_records` are stored, the oldest are dropped. The file is rewritten without acknowledged records when
    they have more than `compact_bytes`, and more than the others. Raises OSError.
    """

    def __init__(self, path: Path, max_records: int, *, compact_bytes: int = COMPACT_BYTES) -> None:
        self._path, self.max_records, self._compact_bytes = path, max_records, compact_bytes
        self.last = self.damaged = 0
        self.facts: dict[str, Fact] = {}
        self._fd = -1  # while negative, the fields may differ from the file
        self._reset()
        with suppress(FileNotFoundError):
            self._open(os.O_RDWR)

    def __len__(self) -> int:
        return len(self._numbers)

    def append(self, payload: bytes) -> int:
        """Store a record durably, with the next number; return how many of the oldest were dropped for it."""
        return self.extend([(self.last + 1, payload)])

    def extend(self, records: Iterable[tuple[int, bytes]]) -> int:
        """Store (number, payload) durably, in one write; return how many of the oldest were dropped for them.

        Raises OSError, and has stored none then. Numbers grow from above `last`; payloads have no newline.
        """
        self._open()
        lines = {number: _line("+", number, payload) for number, payload in records}
        if not lines:
            return 0
        dropped = max(0, len(self) + len(lines) - self.max_records)
        drop = [_line("-", [*self._numbers[:dropped], *lines][dropped - 1])] if dropped else []
        begin = self._append([*lines.values(), *drop], sync=True)
        for number, line in lines.items():
            begin = self._index(number, begin, line)
        if dropped:
            self._forget(dropped)
            with suppress(OSError):  # the records are stored
                self._compact_if_large()
        return dropped

    def after(self, number: int, limit: int) -> list[tuple[int, bytes]]:
        """Return the next records after `number`, `limit` at most, as (number, payload)."""
        if not self._numbers:
            return []
        self._open()
        begin = bisect_right(self._numbers, number)
        return [(self._numbers[at], self._payload(at)) for at in range(begin, min(begin + limit, len(self)))]

    def acknowledge(self, number: int) -> int:
        """Delete the records up to `number`; return how many.

        Not synced: the next append does that. If it fails, records are sent again after a restart.
        """
        count = bisect_right(self._numbers, number)
        if count:
            self._forget(count)
            with suppress(OSError):
                self._append([_line("-", number)], sync=False)
                self._compact_if_large()
        return count

    def continue_after(self, number: int) -> None:
        """Use no number up to this one again."""
        if number > self.last:
            self._append([_facts_line(number, self.facts)], sync=True)
            self.last = number

    def set(self, name: str, value: Fact) -> None:
        """Store a fact durably."""
        if self.facts.get(name) != value:
            facts = self.facts | {name: value}
            self._append([_facts_line(self.last, facts)], sync=True)
            self.facts = facts

    def replace(self, records: Iterable[tuple[int, bytes]], last: int, facts: Mapping[str, Fact] | None = None) -> None:
        """Replace the whole content, atomically and durably."""
        try:
            files.replace(
                self._path, chain((_line("+", *record) for record in records), [_facts_line(last, facts or {})])
            )
        finally:
            self.close()  # which of the two files is there, is read again
        self._open()

    def clear(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)
        self.close()
        self._reset()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _reset(self) -> None:
        self.last = self._size = self._waiting_bytes = 0
        self.facts = {}
        # Of the waiting records: number, offset and length of the line. The payloads stay on disk.
        self._numbers, self._offsets, self._lengths = array("Q"), array("Q"), array("Q")

    def _open(self, flags: int = os.O_RDWR | os.O_CREAT) -> None:
        """Open and read the file, unless it is open."""
        if self._fd >= 0:
            return
        fd = os.open(self._path, flags | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            self._reset()
            damaged = self._recover(fd)
            files.sync_folder(self._path.parent)
            os.fsync(fd)  # a killed process may have written lines without a sync
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        if damaged:
            self.damaged += damaged
            with suppress(OSError):  # the copy is for people
                self._path.with_suffix(".bad").write_bytes(self._path.read_bytes())
            self._compact()

    def _recover(self, fd: int) -> int:
        """Read all lines, truncate a torn last one, and return how many are damaged."""
        damaged = 0
        with open(fd, "rb", closefd=False) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(fd, self._size)
                    break
                damaged += not self._replay(line)
                self._size += len(line)
        self._forget(len(self) - self.max_records)
        return damaged

    def _replay(self, line: bytes) -> bool:
        """Apply a line of the file; tell whether it is valid."""
        try:
            _, kind, text, payload = line.split(b" ", 3)
            if line[:8] != b"%08x" % crc32(line[9:]):
                return False
            number = int(text)
            if kind == b"+" and number > self.last:
                self._index(number, self._size, line)
            elif kind == b"-":
                self._forget(bisect_right(self._numbers, number))
            elif kind == b"=":
                self.facts, self.last = json.loads(payload), max(self.last, number)
        except ValueError:
            return False
        return True

    def _index(self, number: int, offset: int, line: bytes) -> int:
        """Note where a record is; return the offset of its end."""
        self._numbers.append(number)
        self._offsets.append(offset)
        self._lengths.append(len(line))
        self._waiting_bytes += len(line)
        self.last = number
        return offset + len(line)

    def _forget(self, count: int) -> None:
        """Remove the oldest `count` records from the index."""
        if count > 0:
            self._waiting_bytes -= sum(self._lengths[:count])
            del self._numbers[:count], self._offsets[:count], self._lengths[:count]

    def _payload(self, at: int) -> bytes:
        return os.pread(self._fd, self._lengths[at], self._offsets[at]).split(b" ", 3)[3][:-1]

    def _append(self, lines: Iterable[bytes], *, sync: bool) -> int:
        """Write lines; return the offset of the first. Raises OSError, with the file as it was before."""
        self._open()
        begin, data = self._size, b"".join(lines)
        try:
            files.write_all(self._fd, data)
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, begin)
            self.close()  # the next call reads what the file has
            raise
        self._size += len(data)
        return begin

    def _compact_if_large(self) -> None:
        """Rewrite the file when less than half of it waits, and the rest is worth it."""
        if self._size - self._waiting_bytes > max(self._compact_bytes, self._waiting_bytes):
            self._compact()

    def _compact(self) -> None:
        records = ((number, self._payload(at)) for at, number in enumerate(self._numbers))  # one in memory at a time
        self.replace(records, self.last, self.facts)


def _line(kind: str, number: int, payload: bytes = b"") -> bytes:
    if b"\n" in payload:
        raise ValueError("a payload must not have a newline")
    rest = b"%s %d %s\n" % (kind.encode(), number, payload)
    return b"%08x %s" % (crc32(rest), rest)


def _facts_line(last: int, facts: Mapping[str, Fact]) -> bytes:
    return _line("=", last, json.dumps(facts).encode())
