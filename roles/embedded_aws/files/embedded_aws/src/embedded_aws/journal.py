"""A file of JSON lines, each on disk before anybody hears of it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """The file at `path`, made if there is none. Has one owner."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("ab", buffering=0)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)  # a file that is new is not there for good before its folder says so
        os.close(folder)

    def read(self) -> Iterator[Line]:
        """Give all lines, one after another. Raises ValueError for one that is none; one that was cut off goes."""
        whole = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self._file.truncate(whole)
                    break
                whole += len(line)
                yield self._parse(number, line)

    def _parse(self, number: int, line: bytes) -> Line:
        try:
            found: Line = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{self._path}:{number} is damaged: {error}") from None
        return found

    def append(self, line: Line) -> None:
        """Write and sync one line. After an OSError only reading tells what the file holds."""
        data = json.dumps(line).encode() + b"\n"
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
