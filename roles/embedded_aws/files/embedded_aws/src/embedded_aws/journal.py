"""A file of JSON lines, each on disk before anybody hears of it."""

import json
import os
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """The file at `path`, made if there is none. Has one owner."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)

    def read(self) -> list[Line]:
        """Return all lines. Raises ValueError for one that is none; one that was cut off is cleared away."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        return [json.loads(line) for line in data[:whole].splitlines()]

    def append(self, line: Line) -> None:
        """Write and sync one line. After an OSError only reading tells what the file holds."""
        data = json.dumps(line).encode() + b"\n"
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
