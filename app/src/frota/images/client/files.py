"""The files that people send: which ones, how large, what is in them; what is wrong with one is said in Portuguese."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from frota.images.formats import HEAD_BYTES, BadImage, recognise_format

# What is taken from a folder by its name alone: whether it is what it says is for the server to find out. Everything
# else is taken if its content is an image's, save what somebody has not finished writing.
EXTENSIONS = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".gif")
_UNFINISHED_EXTENSIONS = (".part", ".partial", ".crdownload", ".download", ".tmp", ".filepart")

NOT_FOUND, FORBIDDEN, NOT_REGULAR = "arquivo não existe", "sem permissão de leitura", "não é um arquivo comum"
EMPTY, CHANGED = "arquivo vazio", "o arquivo mudou enquanto era lido"
NO_IMAGES, UNREADABLE = "nenhuma imagem nesta pasta", "a pasta não pode ser lida: {}"
HIDDEN, LINKED, UNFINISHED = "oculto", "link para pasta", "download incompleto"
NO_IMAGE, OTHER_FORMAT = "não é uma imagem", "formato não suportado"
_REASONS: dict[type[OSError], str] = {FileNotFoundError: NOT_FOUND, PermissionError: FORBIDDEN}


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


def expand(words: Iterable[str], skipped: list[File]) -> list[File]:
    """Return the files that are named, and the images of the folders, in the order of their names.

    What is in a folder and is not sent is added to `passed_over`, with its reason as `problem`.
    """
    return [
        found for word in words for found in (_images_below(word, skipped) if Path(word).is_dir() else [_file(word)])
    ]


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
        raise _bad_file(error) from None
    except ValueError:  # a zero byte in the name
        raise BadFile(NOT_FOUND) from None
    if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device might never end
        raise BadFile(NOT_REGULAR)
    if not found.st_size:
        raise BadFile(EMPTY)
    return found.st_size


def open_file(path: str) -> BinaryIO:
    """Open a file for reading. Raises BadFile."""
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise _bad_file(error) from None


def read_part(file: BinaryIO, size: int) -> bytes:
    """Read the next so many bytes of a file. Raises BadFile where it has fewer."""
    try:
        data = file.read(size)
    except OSError as error:
        raise _bad_file(error) from None
    if len(data) < size:
        raise BadFile(CHANGED)
    return data


def read_whole(path: str, size: int) -> bytes:
    """Read a file of so many bytes. Raises BadFile."""
    with open_file(path) as file:
        return read_part(file, size)


def _file(path: str) -> File:
    try:
        return File(path, Path(path).stat().st_size)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return File(path)  # may be there when its turn comes; if not, that is told then


def _images_below(folder: str, skipped: list[File]) -> Iterator[File]:
    """Yield the images below a folder; hidden ones, and what is behind links to folders, are left out."""
    problems: list[File] = []
    empty = True
    for where, folders, names in os.walk(folder, onerror=lambda error: problems.append(_unreadable(error))):
        kept = []
        for name in sorted(folders):
            if reason := HIDDEN if name.startswith(".") else LINKED if Path(where, name).is_symlink() else "":
                skipped.append(File(str(Path(where, name)), problem=reason))
            else:
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            path = str(Path(where, name))
            if reason := _reason_to_skip(path, name):
                skipped.append(File(path, problem=reason))
            else:
                empty = False
                yield _file(path)
    yield from problems
    if empty and not problems:
        yield File(folder, problem=NO_IMAGES)


def _reason_to_skip(path: str, name: str) -> str:
    """Return why a file of a folder is not sent; nothing for one that is."""
    if name.startswith("."):
        return HIDDEN
    if name.lower().endswith(_UNFINISHED_EXTENSIONS):
        return UNFINISHED
    image_fields = name.lower().endswith(EXTENSIONS)
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return NOT_REGULAR
        return "" if image_fields else _reason_by_content(path)
    except OSError as error:
        return (
            "" if image_fields else str(_bad_file(error))
        )  # a file with an image's extension is reported when it is sent


def _reason_by_content(path: str) -> str:
    """Return why the content of a file is no image of ours. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 -- never waits for a writer
        head = file.read(HEAD_BYTES)
    try:
        recognise_format(head)
    except BadImage as bad:
        found = bad.text.partition("(")[2].partition(")")[0]
        return EMPTY if bad.code == "empty" else f"{OTHER_FORMAT} ({found})" if found else NO_IMAGE
    return ""


def _unreadable(error: OSError) -> File:
    return File(str(error.filename), problem=UNREADABLE.format(_REASONS.get(type(error), error.strerror)))


def _bad_file(error: OSError) -> BadFile:
    return BadFile(_REASONS.get(type(error), error.strerror or str(error)))
