"""The sequence number of the agent's next sample, on file for the next start after a kill.

The file has one line and exists while an agent runs. The agent overwrites it in place at every sample, without fsync:
the kernel has the number even if the process is killed, and writes it to the disk later. After a crash of the computer
the file may be half a minute old. It therefore holds an upper bound too, after which numbers are unused in any case.
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

from frota.cpu.messages import is_run

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_WRITEBACK_S = 60.0  # the kernel writes what is 30 s old, and checks every 5 s (vm.dirty_expire_centisecs)


class SequenceState(NamedTuple):
    """Where an agent continues: the run, the next unused sequence number, and the last acknowledged one."""

    run: str
    next_number: int
    acked: int


def boot_id(path: Path = BOOT_ID_FILE) -> str:
    """Return the kernel's id of this boot, "?" if it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip() or "?"
    except (OSError, ValueError):
        return "?"


class SequenceFile:
    """The file at `path`, of an agent in the boot with the id `boot`. Every method raises OSError."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path, self._boot, self._file = path, boot, -1

    def read(self) -> SequenceState | None:
        """Return the state of an agent that was killed; None if there is no file, or a malformed one."""
        try:
            run, boot, *numbers = self._path.read_text(encoding="ascii", errors="replace").split()
            next_number, upper_bound, acked = map(int, numbers)
        except (FileNotFoundError, ValueError):
            return None
        if not is_run(run) or not 0 <= acked < next_number <= upper_bound:
            return None
        return SequenceState(run, next_number if boot == self._boot != "?" else upper_bound, acked)

    def create(self, state: SequenceState, interval: float) -> None:
        """Create the file durably: from now on an agent runs, with this interval (s)."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.write(state, interval)
        os.fsync(self._file)

    def write(self, state: SequenceState, interval: float) -> None:
        """Overwrite the state, without fsync."""
        upper_bound = state.next_number + math.ceil(_WRITEBACK_S / interval)
        line = f"{state.run} {self._boot} {state.next_number:020} {upper_bound:020} {state.acked:020}\n"
        os.pwrite(self._file, line.encode(), 0)

    def remove(self) -> None:
        """Delete the file: the agent stops in order, and the spool file has its state."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the file, and leave it in place."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
