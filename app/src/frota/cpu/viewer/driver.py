"""Textual's driver for a terminal, adapted to commands that are run over `ssh -t` and stopped by signals."""

import asyncio
import os
import signal
import sys
import termios
import threading
from contextlib import suppress
from typing import Any

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

_EXIT_TIMEOUT_S = 1.0  # for a terminal that takes no more output


def terminal_size() -> tuple[int, int]:
    """Return the columns and lines of the terminal on standard output; 80 x 24 for a serial line, which has none."""
    try:
        columns, lines = os.get_terminal_size(1)
    except OSError:
        columns = lines = 0
    return columns or 80, lines or 24


class TerminalDriver(LinuxDriver):
    """Writes to standard output instead of standard error; SIGTERM, SIGHUP and SIGINT end the application."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        self._file = sys.__stdout__
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        loop = asyncio.get_running_loop()

        def stop(number: int, _: object) -> None:
            loop.call_soon_threadsafe(app.exit, None, 128 + number)
            timer = threading.Timer(_EXIT_TIMEOUT_S, self._abort, [128 + number])
            timer.daemon = True
            timer.start()

        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, stop)

    def _get_terminal_size(self) -> tuple[int, int]:
        return terminal_size()  # whatever COLUMNS and LINES say

    def _sigtstp_application(self, *_: object) -> None:
        """Stop soon: this handler may interrupt a write, whose lock the last writes before the stop need."""
        self._loop.call_soon_threadsafe(self._suspend)

    def _suspend(self) -> None:
        """Stop as by default: unlike Textual's SIGSTOP, that is ignored where no shell could continue the process."""
        self.suspend_application_mode()
        self._must_signal_resume = True
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._sigtstp_application)
        with suppress(termios.error):  # in the background this waits for `fg`
            termios.tcsetattr(self.fileno, termios.TCSANOW, termios.tcgetattr(self.fileno))
        self.resume_application_mode()

    def _abort(self, status: int) -> None:
        """End at once: the writer waits for a terminal that takes nothing."""
        with suppress(OSError, termios.error):
            termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before or [])
        os._exit(status)
