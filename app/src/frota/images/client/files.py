"""The files to send: selection, size and content. Texts of errors are Portuguese, for users."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from frota.images.formats import HEAD_BYTES, BadImage, recognise_format

# A folder's files with these extensions are sent; the server checks their content. Other files are sent if their
# content is an image's, except unfinished downloads.
EXTENSIONS = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".gif")
_UNFINISHED_EXTENSIONS = (".part", ".partial", ".crdownload", ".download", ".tmp", ".filepart")

NOT_FOUND, FORBIDDEN, NOT_REGULAR = "arquivo não existe", "sem permissão de leitura", "não é um arquivo comum"
EMPTY, CHANGED = "arquivo vazio", "o arquivo mudou enquanto era lido"
NO_IMAGES, UNREADABLE = "nenhuma imagem nesta pasta", "a pasta não pode ser lida: {}"
HIDDEN, LINKED, UNFINISHED = "oculto", "link para pasta", "download incompleto"
NO_IMAGE, OTHER_FORMAT = "não é uma imagem", "formato não suportado"
_REASONS: dict[type[OSError], str] = {FileNotFoundError: NOT_FOUND, PermissionError: FORBIDDEN}


class BadFile(Exception):
    """A file or folder that cannot be sent, with the reason in Portuguese."""


@dataclass(frozen=True)
class File:
    """A file named on the command line or found in a folder; `problem` is why it cannot be sent."""

    path: str
    size: int = 0  # bytes, at the time of the listing
    problem: str = ""

    @property
    def name(self) -> str:
        """The name under which it is sent."""
        return Path(self.path).name


def expand(words: Iterable[str], skipped: list[File]) -> list[File]:
    """Return the named files, and the images of named folders in the order of their names.

    A folder's other files are added to `skipped`, with their reasons as `problem`.
    """
    return [file for word in words for file in (_images_below(word, skipped) if Path(word).is_dir() else [_file(word)])]


def collisions(files: Iterable[File]) -> Iterator[tuple[str, list[str]]]:
    """Yield each name that several files share, with their paths."""
    paths: dict[str, list[str]] = {}
    for one in files:
        if not one.problem:
            paths.setdefault(one.name, []).append(one.path)
    return ((name, same) for name, same in paths.items() if len(same) > 1)


def size_of(path: str) -> int:
    """Return the size of a regular, non-empty file in bytes. Raises BadFile."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise _bad_file(error) from None
    except ValueError:  # a NUL byte in the name
        raise BadFile(NOT_FOUND) from None
    if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
        raise BadFile(NOT_REGULAR)
    if not status.st_size:
        raise BadFile(EMPTY)
    return status.st_size


def open_file(path: str) -> BinaryIO:
    """Open a file for reading. Raises BadFile."""
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise _bad_file(error) from None


def read_part(file: BinaryIO, size: int) -> bytes:
    """Read the next `size` bytes of a file. Raises BadFile if it has fewer."""
    try:
        data = file.read(size)
    except OSError as error:
        raise _bad_file(error) from None
    if len(data) < size:
        raise BadFile(CHANGED)
    return data


def read_whole(path: str, size: int) -> bytes:
    """Read a file of `size` bytes. Raises BadFile."""
    with open_file(path) as file:
        return read_part(file, size)


def _file(path: str) -> File:
    try:
        return File(path, Path(path).stat().st_size)
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return File(path)  # an error is reported when it is sent


def _images_below(folder: str, skipped: list[File]) -> Iterator[File]:
    """Yield the images below a folder, without hidden files and without following links to folders."""
    problems: list[File] = []
    empty = True
    for where, folders, names in os.walk(folder, onerror=lambda error: problems.append(_unreadable(error))):
        subfolders = []
        for name in sorted(folders):
            if reason := HIDDEN if name.startswith(".") else LINKED if Path(where, name).is_symlink() else "":
                skipped.append(File(str(Path(where, name)), problem=reason))
            else:
                subfolders.append(name)
        folders[:] = subfolders
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
    """Return why a folder's file is not sent; an empty text for one that is."""
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
    """Return why a file's content is no supported image. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 -- opening a pipe must not block
        head = file.read(HEAD_BYTES)
    try:
        recognise_format(head)
    except BadImage as bad:
        name = bad.text.partition("(")[2].partition(")")[0]
        return EMPTY if bad.code == "empty" else f"{OTHER_FORMAT} ({name})" if name else NO_IMAGE
    return ""


def _unreadable(error: OSError) -> File:
    return File(str(error.filename), problem=UNREADABLE.format(_REASONS.get(type(error), error.strerror)))


def _bad_file(error: OSError) -> BadFile:
    return BadFile(_REASONS.get(type(error), error.strerror or str(error)))
