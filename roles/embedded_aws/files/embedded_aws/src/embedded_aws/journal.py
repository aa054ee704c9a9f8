"""A write-ahead log of JSON lines, each synced to disk before its response is sent."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """The log file at `path`, created if missing. Only one process may use it."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("ab", buffering=0)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)  # a new file is durable only after a sync of its folder
        os.close(folder)

    def read(self) -> Iterator[Line]:
        """Yield all lines in order. Truncates a torn last line; raises ValueError for a malformed one."""
        size = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self._file.truncate(size)
                    break
                size += len(line)
                yield self._parse(number, line)

    def _parse(self, number: int, line: bytes) -> Line:
        try:
            parsed: Line = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{self._path}:{number} is damaged: {error}") from None
        return parsed

    def append(self, line: Line) -> None:
        """Write and sync one line. After an OSError the file's content is unknown until it is read again."""
        data = json.dumps(line).encode() + b"\n"
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
