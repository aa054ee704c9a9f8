"""How long a log has been open over all its processes: the age of its records, independent of the wall clock."""

import os
import time
from contextlib import suppress
from pathlib import Path

_SAVE_INTERVAL_S = 60.0  # a crash loses at most this much age, so segments are kept that much longer

_MAX_AGE_S = 1e11  # three thousand years


class LogAge:
    """Seconds that the log of a folder has been open, by the monotonic clock, kept in a file beside the segments.

    Time in which no process had the log open does not count, so the age never exceeds the time that has passed.
    """

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / "running", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._earlier = self._read()
        self._opened = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """The age now, in seconds."""
        return self._earlier + time.monotonic() - self._opened

    def raise_to(self, seconds: float) -> None:
        """Raise the age to that of the newest segment: the file may be lost, or older."""
        self._earlier = max(self._earlier, seconds)

    def save(self) -> None:
        """Save the age, at most once a minute."""
        if time.monotonic() - self._saved >= _SAVE_INTERVAL_S:
            self._write()

    def close(self) -> None:
        """Save the age and close the file."""
        self._write()
        os.close(self._fd)

    def _read(self) -> float:
        """Return the saved age; it is written twice, since a wrong, higher value would delete recent segments."""
        try:
            one, other = os.pread(self._fd, 64, 0).decode().split()
            return max(0.0, float(one)) if one == other and float(one) < _MAX_AGE_S else 0.0
        except ValueError:
            return 0.0

    def _write(self) -> None:
        self._saved = time.monotonic()
        # In place and of constant length: needs no disk space and cannot be torn.
        with suppress(OSError):
            os.pwrite(self._fd, b"%(seconds)20.3f %(seconds)20.3f\n" % {b"seconds": self.seconds}, 0)
