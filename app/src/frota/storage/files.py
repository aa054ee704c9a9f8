"""Files that survive a power failure: their content, and their names in their folder."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


def sync(file: BinaryIO) -> None:
    """Have what was written to a file on the disk. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk: files that were made, renamed or deleted. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: Iterable[bytes]) -> None:
    """Replace a file, or make it, atomically: a reader, also after a crash, finds the former or the new content.

    What an interrupted call leaves, a file of the same name with the suffix `.new`, the next one overwrites. Raises
    OSError.
    """
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.writelines(content)
        sync(file)
    new.replace(path)
    sync_folder(path.parent)
