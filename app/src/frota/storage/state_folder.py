"""The state folder of a unit: where it is, and its lock."""

import fcntl
import os
from pathlib import Path
from typing import IO

from frota.core.errors import StateError


def default_directory(unit: str) -> Path:
    """Return systemd's $STATE_DIRECTORY (the first of several), else a folder in the user's home."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(given) if given else Path.home() / ".local" / "state" / "frota" / unit


def lock(directory: Path) -> IO[str]:
    """Create and lock the folder; closing the returned file releases the lock. Raises StateError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise StateError(f"state folder {directory}: {error.strerror}; choose another with --state-dir") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        owner = handle.read(20).strip() or "?"
        handle.close()
        raise StateError(f"state folder {directory} is in use by process {owner}; stop it or choose another") from None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle
