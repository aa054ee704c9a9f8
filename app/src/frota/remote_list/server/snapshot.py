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


class StateCopy:
    """What a snapshot is made of: copied at once, written down later."""

    def __init__(self, lists: Lists, cache: ResponseCache) -> None:
        self.lists = [
            (list_.name, list_.version, list_.size, list_.elements.copy(), list_.undo and _copied(list_.undo))
            for list_ in lists.by_name.values()
        ]
        self.cache = list(cache.by_client.items())

    def records(self) -> Iterator[list[Any]]:
        """Yield what is to be written."""
        for name, version, size, elements, undo in self.lists:
            yield ["list", name, version, size]
            yield from _chunks("elements", elements)
            if undo:
                yield ["undo", undo.kind, undo.position, undo.element, undo.size]
                yield from _chunks("cleared", undo.elements)
        for start in range(0, len(self.cache), _PIECE):
            some = self.cache[start : start + _PIECE]
            yield ["answers", [[client, number, response.decode()] for client, (number, response) in some]]


def path_of(directory: Path, number: int) -> Path:
    """Return where the snapshot is that precedes segment `number`."""
    return directory / f"{number:08d}.snapshot"


def newest(directory: Path) -> int:
    """Return the number of the newest snapshot, 0 if there is none."""
    found = (path.stem for path in directory.glob("*.snapshot"))
    return max((int(stem) for stem in found if re.fullmatch("[0-9]{8,18}", stem)), default=0)


def write(directory: Path, number: int, copy: StateCopy, wanted: Callable[[], bool]) -> int:
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


def read(path: Path, lists: Lists, cache: ResponseCache) -> int:
    """Take in what a snapshot holds; return its size in bytes. Raises StateError where it is not whole."""
    data = path.read_bytes()
    reader = _Loader(lists, cache)
    if data.startswith(segment.MAGIC):
        for _, records in segment.scan(data):
            for record in records:
                with suppress(ValueError, TypeError, LookupError):  # so that it is not whole, in the end
                    reader.take(orjson.loads(record.payload))
    if not reader.parse_integer:
        raise StateError(f"{path} is damaged; put a backup of its folder in its place, or move the folder away")
    return len(data)


class _Loader:
    def __init__(self, lists: Lists, cache: ResponseCache) -> None:
        self._lists, self._cache = lists, cache
        self._list: List | None = None
        self._count = 0
        self.parse_integer = False

    def take(self, record: list[Any]) -> None:
        kind, *rest = record
        if kind in ("list", "answers", "end"):
            self._finish_list()
        if kind == "end":
            self.parse_integer = rest[0] == self._count
        elif kind == "list":
            self._list = List(rest[0], version=rest[1], size=rest[2])
        elif kind == "answers":
            for client, number, response in rest[0]:
                self._cache.store(client, number, response.encode())
        elif self._list:
            self._take_part(self._list, kind, rest)
        self._count += 1

    def _take_part(self, list_: List, kind: str, rest: list[Any]) -> None:
        if kind == "elements":
            list_.elements += rest[0]
        elif kind == "undo":
            edit, position, element, size = rest
            list_.undo = Edit(edit, position, element, [], size)
        elif list_.undo:
            list_.undo.elements.extend(rest[0])

    def _finish_list(self) -> None:
        if self._list:
            self._lists.add(self._list)
            self._list = None


def _copied(undo: Edit) -> Edit:
    return undo._replace(elements=undo.elements.copy())


def _chunks(kind: str, elements: list[str]) -> Iterator[list[Any]]:
    for start in range(0, len(elements), _PIECE):
        yield [kind, elements[start : start + _PIECE]]


def _encoded(record: list[Any]) -> bytes:
    return segment.encode_commit([segment.encode_record(orjson.dumps(record), 0, segment.NO_PRODUCER, 0)])
