"""Files that hold a secret: whether their permissions keep it one."""

import os
import shlex
import stat
from pathlib import Path

from frota.core.settings import SettingsError

_OTHERS, _GROUP = 0o006, 0o060
_CREDENTIALS = "/run/credentials"  # where systemd puts the credentials of units


def check(path: Path, status: os.stat_result | None = None) -> None:
    """Reject a secret that others can read or replace, as ssh does. Raises SettingsError with the fix.

    The group may read a file that an administrator shares: root's file with another group, or another user's file.
    systemd's credentials ($CREDENTIALS_DIRECTORY) are accepted with any mode. Missing paths and non-files are ignored.
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


def credential(name: str) -> Path | None:
    """Return the file of a systemd credential of this unit, None if there is none."""
    file = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")) / name
    return file if file.exists() else None


def _is_shared(status: os.stat_result) -> bool:
    """Tell whether an administrator shares a file with its group."""
    return status.st_gid != 0 if status.st_uid == 0 else status.st_uid != os.geteuid()


def _is_credential(path: Path) -> bool:
    folders = filter(None, (os.environ.get("CREDENTIALS_DIRECTORY"), _CREDENTIALS))
    return any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)
