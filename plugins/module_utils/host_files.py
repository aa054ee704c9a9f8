"""Files, folders and links of a host, for modules that run there: compare, show differences, replace atomically."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

CLOCK_TOLERANCE_S = 60  # a start time further in the future came from a wrong clock and cannot be compared


class Fault(Exception):
    """The desired state cannot be reached; the text is the module's error message."""


class Access(NamedTuple):
    """Mode, owner and group of a file or a folder, as numbers."""

    mode: int
    owner: int
    group: int

    def __str__(self) -> str:
        return f"mode {self.mode:04o} owner {self.owner}:{self.group}"


def own_access(mode: int) -> Access:
    """Return access with a mode for the current user and group (root on a host)."""
    return Access(mode, os.geteuid(), os.getegid())


def access_of(path: Path) -> Access:
    """Return mode, owner and group of a path. Raises FileNotFoundError."""
    status = path.stat()
    return Access(status.st_mode & 0o7777, status.st_uid, status.st_gid)


def set_access(path: Path, access: Access) -> None:
    """Set owner and group of a path, then its mode."""
    os.chown(path, access.owner, access.group)
    path.chmod(access.mode)


@dataclass(frozen=True)
class Entry:
    """The desired state of a file, or of a folder if `text` is None."""

    path: Path
    access: Access
    text: str | None = None

    def diff(self) -> list[dict[str, str]]:
        """Return the difference in content, or else in mode and owner; empty if there is none."""
        if self.text is not None and content(self.path) != self.text:
            return [diff_item(self.path, content(self.path) or "", self.text)]
        before = f"{access_of(self.path)}\n" if self.path.exists() else ""
        after = f"{self.access}\n"
        return [diff_item(self.path, before, after)] if before != after else []

    def apply(self) -> None:
        """Apply the desired state."""
        if self.text is None:
            self.path.mkdir(exist_ok=True)
            set_access(self.path, self.access)
        elif content(self.path) != self.text:
            write(self.path, self.text, self.access)
        else:
            set_access(self.path, self.access)


def diff_item(path: Path, before: str, after: str) -> dict[str, str]:
    """Return a difference in the format of Ansible's --diff."""
    return {"before_header": str(path), "after_header": str(path), "before": before, "after": after}


def content(path: Path) -> str | None:
    """Return a file's text; None if the file does not exist."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: Path, text: str, access: Access) -> None:
    """Replace a file atomically and sync it to disk; at no time is it readable beyond `access`."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchown(file.fileno(), access.owner, access.group)
            os.fchmod(file.fileno(), access.mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


def link_target(path: Path) -> str:
    """Return the target of a link; empty if there is no link."""
    return str(path.readlink()) if path.is_symlink() else ""


def sync_folder(path: Path) -> None:
    """Sync a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_link(path: Path, target: Path) -> None:
    """Create or replace a link atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def modification_time(path: Path) -> float:
    """Return the modification time of a file or of a link itself, in seconds since 1970; 0 if it does not exist."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def reset_future_times(paths: Iterable[Path]) -> None:
    """Set future modification times to now: otherwise every run would restart the files' units."""
    now = datetime.now(UTC).timestamp()
    for path in paths:
        if modification_time(path) > now:
            os.utime(path, follow_symlinks=False)


def is_newer(paths: Iterable[Path], started: float) -> bool:
    """Tell whether a unit started at `started` (seconds since 1970) may run with older content than these files."""
    is_in_the_future = started > datetime.now(UTC).timestamp() + CLOCK_TOLERANCE_S
    return is_in_the_future or any(modification_time(path) > started for path in paths)
