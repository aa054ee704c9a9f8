"""Wakes a loop over poll(2) at signals, and from other threads."""

import os
import signal
from contextlib import suppress

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wakeups:
    """A pipe that gets a byte with the number of each signal received, and a 0 at each call of `wake`."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: None)  # Python writes to the pipe only if there is a handler
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._reader

    def wake(self) -> None:
        """Wake the loop; any thread may call it."""
        with suppress(OSError):  # a full pipe wakes the loop anyway
            os.write(self._writer, b"\0")

    def read(self) -> bytes:
        """Return the bytes since the last call, without blocking."""
        try:
            return os.read(self._reader, 4096)
        except BlockingIOError:
            return b""
