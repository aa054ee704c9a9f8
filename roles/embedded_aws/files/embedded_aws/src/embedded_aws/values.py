"""Where moto puts the values of objects: into files, opened only while they are read. By itself it fills its memory."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

from moto.s3 import models


def keep_in(folder: Path) -> None:
    """Keep the values in an emptied folder; they do not outlive the process, which makes them anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    paths = (folder / str(number) for number in itertools.count())
    own = SimpleNamespace(SpooledTemporaryFile=lambda _size: Value(next(paths)))
    models.tempfile = own  # type: ignore[attr-defined,assignment]


class Value:
    """A value in a file; as much of a file object as moto asks for."""

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 0

    def seek(self, place: int) -> None:
        """Go to a place."""
        self._place = place

    def truncate(self) -> None:
        """Forget what is after the place."""
        with self._path.open("ab") as file:
            file.truncate(self._place)

    def write(self, data: bytes) -> None:
        """Write at the place."""
        with self._path.open("r+b") as file:
            file.seek(self._place)
            self._place += file.write(data)

    def read(self, size: int = -1) -> bytes:
        """Read from the place."""
        with self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read(size)
        self._place += len(data)
        return data

    def close(self) -> None:
        """Remove it."""
        self._path.unlink(missing_ok=True)

    __del__ = close
