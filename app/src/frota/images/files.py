"""The files that people send: which ones, how large, what is in them; what is wrong with one is said in Portuguese."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# What is taken from a folder. Whether a file is what its name says is for the server to find out.
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif")

NOT_THERE, FORBIDDEN, NO_FILE = "arquivo não existe", "sem permissão de leitura", "não é um arquivo comum"
EMPTY, CHANGED = "arquivo vazio", "o arquivo mudou enquanto era lido"
NO_IMAGES, UNREADABLE = "nenhuma imagem nesta pasta", "a pasta não pode ser lida: {}"
_REASONS: dict[type[OSError], str] = {FileNotFoundError: NOT_THERE, PermissionError: FORBIDDEN}


class BadFile(Exception):
    """A file or folder that cannot be sent: says in Portuguese why."""


@dataclass(frozen=True)
class File:
    """A file that was named, or found in a folder; `problem` says why there is nothing to send."""

    path: str
    size: int = 0  # bytes, when it was found
    problem: str = ""

    @property
    def name(self) -> str:
        """The name under which it is sent."""
        return Path(self.path).name


def expand(words: Iterable[str]) -> list[File]:
    """Return the files that are named, and those of the folders, in the order of their names."""
    return [found for word in words for found in (_below(word) if Path(word).is_dir() else [_found(word)])]


def collisions(files: Iterable[File]) -> Iterator[tuple[str, list[str]]]:
    """Yield every name that several files have, with their paths."""
    paths: dict[str, list[str]] = {}
    for one in files:
        if not one.problem:
            paths.setdefault(one.name, []).append(one.path)
    return ((name, same) for name, same in paths.items() if len(same) > 1)


def size_of(path: str) -> int:
    """Return the size of a file that can be sent, in bytes. Raises BadFile."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise _explained(error) from None
    except ValueError:  # a zero byte in the name
        raise BadFile(NOT_THERE) from None
    if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device might never end
        raise BadFile(NO_FILE)
    if not found.st_size:
        raise BadFile(EMPTY)
    return found.st_size


def open_file(path: str) -> BinaryIO:
    """Open a file for reading. Raises BadFile."""
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise _explained(error) from None


def read_part(file: BinaryIO, size: int) -> bytes:
    """Read the next so many bytes of a file. Raises BadFile where it has fewer."""
    try:
        data = file.read(size)
    except OSError as error:
        raise _explained(error) from None
    if len(data) < size:
        raise BadFile(CHANGED)
    return data


def read_whole(path: str, size: int) -> bytes:
    """Read a file of so many bytes. Raises BadFile."""
    with open_file(path) as file:
        return read_part(file, size)


def _found(path: str) -> File:
    try:
        return File(path, Path(path).stat().st_size)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return File(path)  # may be there when its turn comes; if not, that is told then


def _below(folder: str) -> Iterator[File]:
    """Yield the images below a folder; hidden ones, and what is behind links to folders, are left out."""
    problems: list[File] = []
    empty = True
    for where, folders, names in os.walk(folder, onerror=lambda error: problems.append(_unreadable(error))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                empty = False
                yield _found(str(Path(where, name)))
    yield from problems
    if empty and not problems:
        yield File(folder, problem=NO_IMAGES)


def _unreadable(error: OSError) -> File:
    return File(str(error.filename), problem=UNREADABLE.format(_REASONS.get(type(error), error.strerror)))


def _explained(error: OSError) -> BadFile:
    return BadFile(_REASONS.get(type(error), error.strerror or str(error)))
