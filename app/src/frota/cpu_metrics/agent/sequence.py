"""The number that the agent's next sample gets, for whoever comes after an agent that was killed.

One line in one small file, there as long as an agent runs, and overwritten in place at every sample: the kernel has
it then, whatever becomes of the process, and puts it on the disk when it likes. After a crash of the computer itself it
may be half a minute old: numbers then go on behind all that can have been used.
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

from frota.cpu_metrics.messages import is_run

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_WRITEBACK_S = 60.0  # the kernel writes what is 30 s old, and looks every 5 s (vm.dirty_expire_centisecs)


class SequenceState(NamedTuple):
    """What an agent left that was killed: its run, the next number that is free, and the last one acknowledged."""

    run: str
    next_number: int
    acked: int


def boot_id() -> str:
    """Return an id of this boot of the computer, ? where the kernel tells none."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip() or "?"
    except (OSError, ValueError):
        return "?"


class SequenceFile:
    """The file at `path`. Every method raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1
        self._boot = boot_id()

    def read(self) -> SequenceState | None:
        """Return what a killed agent left, None where there is nothing, or nothing of sense."""
        try:
            run, boot, *numbers = self._path.read_text(encoding="ascii", errors="replace").split()
            next_number, upper_bound, acked = map(int, numbers)
        except (FileNotFoundError, ValueError):
            return None
        if not is_run(run) or not 0 <= acked < next_number <= upper_bound:
            return None
        return SequenceState(run, next_number if boot == self._boot != "?" else upper_bound, acked)

    def create(self, state: SequenceState, interval: float) -> None:
        """Make the file; from now on an agent runs."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.write(state, interval)
        os.fsync(self._file)

    def write(self, state: SequenceState, interval: float) -> None:
        """Write what another agent would go on with; samples are `interval` seconds apart."""
        upper_bound = state.next_number + math.ceil(_WRITEBACK_S / interval)
        line = f"{state.run} {self._boot} {state.next_number:020} {upper_bound:020} {state.acked:020}\n"
        os.pwrite(self._file, line.encode(), 0)

    def remove(self) -> None:
        """Remove the file: the agent has left everything in good order."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the file as it is."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
