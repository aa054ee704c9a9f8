"""Patch for moto: store object values in files that are open only during reads and writes, not in memory."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

from moto.s3 import models


def store_in(folder: Path) -> None:
    """Store the values in `folder`, which is emptied first: the replay of the journal writes them again."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    paths = (folder / str(number) for number in itertools.count())
    fake_tempfile = SimpleNamespace(SpooledTemporaryFile=lambda _size: Value(next(paths)))
    models.tempfile = fake_tempfile  # type: ignore[attr-defined,assignment]


class Value:
    """A value in a file, with the part of the file interface that moto uses."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0

    def seek(self, position: int) -> None:
        """Set the position."""
        self._position = position

    def truncate(self) -> None:
        """Truncate at the position."""
        with self._path.open("ab") as file:
            file.truncate(self._position)

    def write(self, data: bytes) -> None:
        """Write at the position."""
        with self._path.open("r+b") as file:
            file.seek(self._position)
            self._position += file.write(data)

    def read(self, size: int = -1) -> bytes:
        """Read from the position."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)

    __del__ = close
