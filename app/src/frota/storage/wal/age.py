"""How long a log has been open, over all its processes: the age of what it holds, whatever clocks say."""

import os
import time
from contextlib import suppress
from pathlib import Path

_SAVE_SECONDS = 60.0  # a crash loses so many seconds: segments are then kept that much longer

_MOST_SECONDS = 1e11  # three thousand years


class Running:
    """Seconds that the log of a folder has been open, by the monotonic clock, kept in a file beside the segments.

    Time in which no process had the log open does not count, so that it never is more than has passed in truth.
    """

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / "running", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._before = self._read()
        self._begun = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """The seconds up to now."""
        return self._before + time.monotonic() - self._begun

    def at_least(self, seconds: float) -> None:
        """Go on from here if the file says less: it may be lost, or older than the newest segment."""
        self._before = max(self._before, seconds)

    def save(self) -> None:
        """Keep the seconds, at most once a minute."""
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._write()

    def close(self) -> None:
        """Keep the seconds and give the file back."""
        self._write()
        os.close(self._fd)

    def _read(self) -> float:
        """Return the saved seconds; they are written twice, since a wrong higher value would delete recent segments."""
        try:
            one, other = os.pread(self._fd, 64, 0).decode().split()
            return max(0.0, float(one)) if one == other and float(one) < _MOST_SECONDS else 0.0
        except ValueError:
            return 0.0

    def _write(self) -> None:
        self._saved = time.monotonic()
        # In place, and always as long: it needs no room, and half of it cannot be written.
        with suppress(OSError):
            os.pwrite(self._fd, b"%(seconds)20.3f %(seconds)20.3f\n" % {b"seconds": self.seconds}, 0)
