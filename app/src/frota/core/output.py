"""Standard output whose reader has ended."""

import os
import sys


def discard() -> None:
    """Drop what standard output did not take: Python would write it again at its end, and change the exit status."""
    try:
        if sys.stdout:  # there is none where it was closed
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
