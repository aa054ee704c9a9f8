"""Signals, and other threads, as something to wait for with poll(2)."""

import os
import signal
from contextlib import suppress

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wakeups:
    """A pipe with the number of each signal that came, and a 0 for every call of `wake`."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: None)  # Python writes to the pipe only where there is one
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._reader

    def wake(self) -> None:
        """Let the loop go round; called from any thread."""
        with suppress(OSError):  # a full pipe wakes it just as well
            os.write(self._writer, b"\0")

    def read(self) -> bytes:
        """Return the numbers of the signals since the last call, and zeros."""
        try:
            return os.read(self._reader, 4096)
        except BlockingIOError:
            return b""
