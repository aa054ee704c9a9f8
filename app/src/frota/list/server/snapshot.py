"""A snapshot: all lists and the response cache as they were before the first record of one segment of the change log.

It has the format of a segment (frota.storage.wal.segment), so every part has a checksum. Each record is a JSON array
that begins with its kind. The last record has the count of records: without it, the file is incomplete.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from frota.core.errors import StateError
from frota.list.lists import Edit, List, Lists
from frota.list.response_cache import ResponseCache
from frota.storage import files
from frota.storage.wal import segment

_RECORD_ELEMENTS = 256  # other threads wait at most until one record is encoded
_SYNC_BYTES = 2**20  # written between two syncs: a large sync delays those of the change log


class StateCopy:
    """A copy of the state, made at once, for a thread to write."""

    def __init__(self, lists: Lists, cache: ResponseCache) -> None:
        self.lists = [
            (list_.name, list_.version, list_.size, list_.elements.copy(), list_.undo and _copied(list_.undo))
            for list_ in lists.by_name.values()
        ]
        self.cache = list(cache.by_client.items())

    def records(self) -> Iterator[list[Any]]:
        """Yield the records of the snapshot."""
        for name, version, size, elements, undo in self.lists:
            yield ["list", name, version, size]
            yield from _chunks("elements", elements)
            if undo:
                yield ["undo", undo.kind, undo.position, undo.element, undo.size]
                yield from _chunks("cleared", undo.elements)
        for start in range(0, len(self.cache), _RECORD_ELEMENTS):
            batch = self.cache[start : start + _RECORD_ELEMENTS]
            yield ["answers", [[client, number, response.decode()] for client, (number, response) in batch]]


def path_of(directory: Path, number: int) -> Path:
    """Return the path of the snapshot that precedes segment `number`."""
    return directory / f"{number:08d}.snapshot"


def newest(directory: Path) -> int:
    """Return the number of the newest snapshot, 0 if there is none."""
    stems = (path.stem for path in directory.glob("*.snapshot"))
    return max((int(stem) for stem in stems if re.fullmatch("[0-9]{8,18}", stem)), default=0)


def write(directory: Path, number: int, copy: StateCopy, is_needed: Callable[[], bool]) -> int:
    """Write a snapshot, on disk before it gets its name; return its size in bytes, 0 if it was canceled.

    Deletes the former snapshots. Raises OSError.
    """
    path = path_of(directory, number)
    temporary = path.with_suffix(".unfinished")
    with temporary.open("wb") as file:
        file.write(segment.MAGIC)
        synced = count = 0
        for record in copy.records():
            count += 1
            file.write(_encoded(record))
            if file.tell() - synced > _SYNC_BYTES:
                file.flush()
                os.fdatasync(file.fileno())
                synced = file.tell()
            if not is_needed():
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
    """Load a snapshot; return its size in bytes. Raises StateError for an incomplete or damaged one."""
    data = path.read_bytes()
    reader = _Loader(lists, cache)
    if data.startswith(segment.MAGIC):
        for _, records in segment.scan(data):
            for record in records:
                with suppress(ValueError, TypeError, LookupError):  # then it is not complete
                    reader.take(orjson.loads(record.payload))
    if not reader.complete:
        raise StateError(f"{path} is damaged; restore its folder from a backup, or move it away")
    return len(data)


class _Loader:
    def __init__(self, lists: Lists, cache: ResponseCache) -> None:
        self._lists, self._cache = lists, cache
        self._list: List | None = None
        self._count = 0
        self.complete = False

    def take(self, record: list[Any]) -> None:
        kind, *rest = record
        if kind in ("list", "answers", "end"):
            self._finish_list()
        if kind == "end":
            self.complete = rest[0] == self._count
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
    for start in range(0, len(elements), _RECORD_ELEMENTS):
        yield [kind, elements[start : start + _RECORD_ELEMENTS]]


def _encoded(record: list[Any]) -> bytes:
    return segment.encode_commit([segment.encode_record(orjson.dumps(record), 0, segment.NO_PRODUCER, 0)])
