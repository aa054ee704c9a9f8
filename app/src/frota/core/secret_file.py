"""Files that hold a secret: whether it is one still."""

import os
import shlex
import stat
from pathlib import Path

from frota.core.settings import SettingsError

_OTHERS, _GROUP = 0o006, 0o060
_CREDENTIALS = "/run/credentials"  # where systemd keeps those of all units


def check(path: Path, status: os.stat_result | None = None) -> None:
    """Refuse a secret that others can read or replace, as ssh does. Raises SettingsError that says how to mend it.

    The file's group may read it where an administrator has seen to that: a file of root's for a group that is not
    root's own, or another user's file. What systemd hands over ($CREDENTIALS_DIRECTORY) has the mode that it gives.
    Missing paths and non-files are ignored.
    """
    try:
        status = status or path.stat()
    except OSError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode) or _is_credential(path):
        return
    allowed = 0o640 if _is_shared(status) else 0o600
    excess = mode & (_OTHERS | _GROUP) & ~allowed
    if excess:
        who = "everybody" if excess & _OTHERS else "its group"
        what = "replace" if excess & 0o022 else "read"
        raise SettingsError(
            f"{path}: {who} can {what} this secret (mode {mode:04o}). Run: chmod {allowed & mode | 0o600:o} "
            f"{shlex.quote(str(path))}, and replace the secret if it may have been read"
        )


def _is_shared(status: os.stat_result) -> bool:
    """Tell whether a group was given a file by somebody who may give it."""
    return status.st_gid != 0 if status.st_uid == 0 else status.st_uid != os.geteuid()


def _is_credential(path: Path) -> bool:
    folders = filter(None, (os.environ.get("CREDENTIALS_DIRECTORY"), _CREDENTIALS))
    return any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)
