"""Files whose content and names survive a power failure."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


def sync(file: BinaryIO) -> None:
    """Flush and fsync a file. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Fsync a folder: the names of files created, renamed or deleted in it. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes. Raises OSError, and may have written some."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(path: Path, content: Iterable[bytes]) -> None:
    """Replace or create a file atomically: readers, also after a crash, see the former or the new content.

    Writes a file with the suffix `.new` first; the next call overwrites one that a crash left. Raises OSError.
    """
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.writelines(content)
        sync(file)
    new.replace(path)
    sync_folder(path.parent)
