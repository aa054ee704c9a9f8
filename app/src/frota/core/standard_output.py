"""Standard output that is closed, or whose reader has exited."""

import os
import sys


def discard() -> None:
    """Discard unwritten output: Python would flush it again at exit, fail, and change the exit status."""
    try:
        if sys.stdout:  # None where it was closed before the start
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
