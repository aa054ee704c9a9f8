"""Files, folders and links of a host, for modules that run there: compared, shown as --diff does, replaced whole."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

AHEAD_SECONDS = 60  # a start further in the future was under a wrong clock: files cannot be compared


class Fault(Exception):
    """What should be on the host cannot be made; the text is for people."""


class Access(NamedTuple):
    """Mode, owner and group of a file or a folder, as numbers."""

    mode: int
    owner: int
    group: int

    def __str__(self) -> str:
        return f"mode {self.mode:04o} owner {self.owner}:{self.group}"


def ours(mode: int) -> Access:
    """Return the access of what belongs to who runs this, root on a host, with a mode."""
    return Access(mode, os.geteuid(), os.getegid())


def access_of(path: Path) -> Access:
    """Return who may do what with a path. Raises FileNotFoundError."""
    status = path.stat()
    return Access(status.st_mode & 0o7777, status.st_uid, status.st_gid)


def set_access(path: Path, access: Access) -> None:
    """Give a path its owner and group, then its mode."""
    os.chown(path, access.owner, access.group)
    path.chmod(access.mode)


@dataclass(frozen=True)
class Entry:
    """A file as it should be, or a folder, which has no text."""

    path: Path
    access: Access
    text: str | None = None

    def diff(self) -> list[dict[str, str]]:
        """Return what differs: the content, or else who may do what; nothing where both are right."""
        if self.text is not None and content(self.path) != self.text:
            return [shown(self.path, content(self.path) or "", self.text)]
        before = f"{access_of(self.path)}\n" if self.path.exists() else ""
        after = f"{self.access}\n"
        return [shown(self.path, before, after)] if before != after else []

    def apply(self) -> None:
        """Make it what it should be."""
        if self.text is None:
            self.path.mkdir(exist_ok=True)
            set_access(self.path, self.access)
        elif content(self.path) != self.text:
            write(self.path, self.text, self.access)
        else:
            set_access(self.path, self.access)


def shown(path: Path, before: str, after: str) -> dict[str, str]:
    """Return a difference as Ansible's --diff shows it."""
    return {"before_header": str(path), "after_header": str(path), "before": before, "after": after}


def content(path: Path) -> str | None:
    """Return a file's text; None if there is none."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: Path, text: str, access: Access) -> None:
    """Replace a file by a whole one, on disk, that at no moment more people can read than its access says."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchown(file.fileno(), access.owner, access.group)
            os.fchmod(file.fileno(), access.mode)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink()
        raise


def link(path: Path) -> str:
    """Return where a link leads, empty if there is none."""
    return str(path.readlink()) if path.is_symlink() else ""


def sync_folder(path: Path) -> None:
    """Have the names in a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place_link(path: Path, target: Path) -> None:
    """Let a link lead to a target, in one step."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(target)
    unfinished.replace(path)


def modified(path: Path) -> float:
    """Return when a file or a link itself last changed, in seconds since 1970; 0 if it is not there."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def date_back(paths: Iterable[Path]) -> None:
    """Give files from the future today's date: a clock that was ahead would have their units restarted on every run."""
    now = datetime.now(UTC).timestamp()
    for path in paths:
        if modified(path) > now:
            os.utime(path, follow_symlinks=False)


def is_newer(paths: Iterable[Path], started: float) -> bool:
    """Tell whether a unit that started then, in seconds since 1970, may run something older than these files."""
    ahead = started > datetime.now(UTC).timestamp() + AHEAD_SECONDS
    return ahead or any(modified(path) > started for path in paths)
