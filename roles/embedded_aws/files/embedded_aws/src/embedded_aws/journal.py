"""A file of JSON lines, each on disk before anybody hears of it."""

import json
import os
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """The file at `path`, made if there is none. Has one owner."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("a+b", buffering=0)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)  # a file that is new is not there for good before its folder says so
        os.close(folder)

    def read(self) -> list[Line]:
        """Return all lines. Raises ValueError for one that is none; one that was cut off is cleared away."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        return [self._parse(number, line) for number, line in enumerate(data[:whole].splitlines(), 1)]

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
