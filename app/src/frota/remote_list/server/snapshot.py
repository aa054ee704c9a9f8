"""A snapshot: all lists and remembered answers as they were before the first record of one segment of the journal.

It has the format of a segment (frota.storage.wal.segment), so every part has its checksum; each record is a JSON array
that begins with its kind. The last one says how many there are: without it, the file is not whole.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from frota.core.errors import StateError
from frota.remote_list.lists import Edit, List, Lists
from frota.remote_list.response_cache import ResponseCache
from frota.storage import files
from frota.storage.wal import segment

_PIECE = 256  # elements in one record: another thread waits at most until it is encoded
_SYNCED = 2**20  # bytes written between two syncs: what is synced at once delays the journal's own sync


class Copy:
    """What a snapshot is made of: copied at once, written down later."""

    def __init__(self, lists: Lists, remembered: ResponseCache) -> None:
        self.lists = [
            (one.name, one.version, one.size, one.elements.copy(), one.undo and _copied(one.undo))
            for one in lists.all.values()
        ]
        self.remembered = list(remembered.all.items())

    def records(self) -> Iterator[list[Any]]:
        """Yield what is to be written."""
        for name, version, size, elements, undo in self.lists:
            yield ["list", name, version, size]
            yield from _pieces("elements", elements)
            if undo:
                yield ["undo", undo.kind, undo.position, undo.element, undo.size]
                yield from _pieces("cleared", undo.elements)
        for start in range(0, len(self.remembered), _PIECE):
            some = self.remembered[start : start + _PIECE]
            yield ["answers", [[client, number, answer.decode()] for client, (number, answer) in some]]


def path_of(directory: Path, number: int) -> Path:
    """Return where the snapshot is that precedes segment `number`."""
    return directory / f"{number:08d}.snapshot"


def newest(directory: Path) -> int:
    """Return the number of the newest snapshot, 0 if there is none."""
    found = (path.stem for path in directory.glob("*.snapshot"))
    return max((int(stem) for stem in found if re.fullmatch("[0-9]{8,18}", stem)), default=0)


def write(directory: Path, number: int, copy: Copy, wanted: Callable[[], bool]) -> int:
    """Write a snapshot, durable before it has its name; return its size in bytes, 0 where it was no longer wanted.

    Deletes the snapshots before it. Raises OSError.
    """
    path = path_of(directory, number)
    temporary = path.with_suffix(".unfinished")
    with temporary.open("wb") as file:
        file.write(segment.MAGIC)
        synced = count = 0
        for record in copy.records():
            count += 1
            file.write(_encoded(record))
            if file.tell() - synced > _SYNCED:
                file.flush()
                os.fdatasync(file.fileno())
                synced = file.tell()
            if not wanted():
                return 0
        file.write(_encoded(["end", count]))
        files.sync(file)
        size = file.tell()
    temporary.rename(path)
    files.sync_folder(directory)
    for other in directory.glob("*.snapshot"):
        if other != path:
            other.unlink()
    return size


def read(path: Path, lists: Lists, remembered: ResponseCache) -> int:
    """Take in what a snapshot holds; return its size in bytes. Raises StateError where it is not whole."""
    data = path.read_bytes()
    reader = _Reader(lists, remembered)
    if data.startswith(segment.MAGIC):
        for _, records in segment.scan(data):
            for record in records:
                with suppress(ValueError, TypeError, LookupError):  # so that it is not whole, in the end
                    reader.take(orjson.loads(record.payload))
    if not reader.whole:
        raise StateError(f"{path} is damaged; put a backup of its folder in its place, or move the folder away")
    return len(data)


class _Reader:
    def __init__(self, lists: Lists, remembered: ResponseCache) -> None:
        self._lists, self._remembered = lists, remembered
        self._list: List | None = None
        self._count = 0
        self.whole = False

    def take(self, record: list[Any]) -> None:
        kind, *rest = record
        if kind in ("list", "answers", "end"):
            self._finish_list()
        if kind == "end":
            self.whole = rest[0] == self._count
        elif kind == "list":
            self._list = List(rest[0], version=rest[1], size=rest[2])
        elif kind == "answers":
            for client, number, answer in rest[0]:
                self._remembered.note(client, number, answer.encode())
        elif self._list:
            self._take_part(self._list, kind, rest)
        self._count += 1

    def _take_part(self, one: List, kind: str, rest: list[Any]) -> None:
        if kind == "elements":
            one.elements += rest[0]
        elif kind == "undo":
            edit, position, element, size = rest
            one.undo = Edit(edit, position, element, [], size)
        elif one.undo:
            one.undo.elements.extend(rest[0])

    def _finish_list(self) -> None:
        if self._list:
            self._lists.add(self._list)
            self._list = None


def _copied(undo: Edit) -> Edit:
    return undo._replace(elements=undo.elements.copy())


def _pieces(kind: str, elements: list[str]) -> Iterator[list[Any]]:
    for start in range(0, len(elements), _PIECE):
        yield [kind, elements[start : start + _PIECE]]


def _encoded(record: list[Any]) -> bytes:
    return segment.encode_commit([segment.encode_record(orjson.dumps(record), 0, segment.NO_PRODUCER, 0)])
