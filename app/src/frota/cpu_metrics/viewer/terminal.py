"""The terminal while it shows the whole screen: keys one by one, signals, and everything as it was at the end."""

import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the other buffer; no cursor; what is too long is cut, not wrapped
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_ENDS = (signal.SIGTERM, signal.SIGHUP)
_CLEAR_LINE = Control((ControlType.ERASE_IN_LINE, 2))
_STUCK_SECONDS = 1.0  # a terminal that takes nothing for so long is left as it is
_ESCAPE_SECONDS = 0.05  # within which the rest of a key follows its escape


def size() -> tuple[int, int]:
    """Return the columns and lines of the terminal on standard output."""
    try:
        columns, lines = os.get_terminal_size(1)
    except OSError:
        columns = lines = 0
    return columns or 80, lines or 24  # a serial line has none


class Terminal:
    """The terminal of standard input and output, taken over for the time of a block."""

    def __init__(self) -> None:
        self._before = termios.tcgetattr(0)
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)
        self._console = Console(file=sys.stdout, force_terminal=True, highlight=False, markup=False, emoji=False)

    def __enter__(self) -> Self:
        for number in _ENDS:
            signal.signal(number, _end)
        signal.signal(signal.SIGWINCH, lambda *_: None)  # the wake-up is what counts
        signal.signal(signal.SIGTSTP, self._pause)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        try:
            self._take()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number in (*_ENDS, signal.SIGINT, signal.SIGTSTP):  # nothing may come between
            signal.signal(number, signal.SIG_IGN)
        self._give_back()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def wait(self, bell: socket.socket, seconds: float, *, escape: bool) -> tuple[bool, bytes | None]:
        """Wait for keys, the bell or a signal; return whether anything came, and what was typed, None for its end.

        `escape` says that a key may have begun, whose rest comes at once if it comes at all.
        """
        patience = _ESCAPE_SECONDS if escape else seconds
        ready = select.select([0, bell.fileno(), self._woken.fileno()], [], [], patience)[0]
        for one in (bell, self._woken):
            with suppress(BlockingIOError):
                one.recv(4096)
        if 0 not in ready:
            return bool(ready), b""
        return True, os.read(0, 1024) or None

    def show(self, lines: Sequence[Text]) -> None:
        """Fill the screen."""
        with self._console.capture() as drawn:
            for number, line in enumerate(lines):
                self._console.control(Control.move_to(0, number), _CLEAR_LINE)
                self._console.print(line, end="", soft_wrap=True)
        _write(drawn.get())

    def _take(self) -> None:
        tty.setcbreak(0, termios.TCSANOW)
        mode = termios.tcgetattr(0)
        mode[0] &= ~termios.IXON  # Ctrl+S is no key to be stuck by
        termios.tcsetattr(0, termios.TCSANOW, mode)
        _write(_ENTER)

    def _give_back(self) -> None:
        with suppress(OSError, termios.error):  # it may be gone
            termios.tcsetattr(0, termios.TCSANOW, self._before)
        with suppress(OSError):
            if select.select([], [1], [], _STUCK_SECONDS)[1]:
                _write(_LEAVE)

    def _pause(self, number: int, _: FrameType | None) -> None:
        """Do what Ctrl+Z does, and take the terminal over again afterwards."""
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._pause)
        self._take()


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(text: str) -> None:
    """Write past Python's own buffer, which a signal's handler could not use in the middle of a write."""
    data = text.encode(sys.stdout.encoding, "backslashreplace")
    while data:
        data = data[os.write(1, data) :]
