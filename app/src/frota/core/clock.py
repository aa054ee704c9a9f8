"""Clocks."""

import time


def boottime() -> float:
    """Return seconds on a clock that nobody sets and that goes on while the computer sleeps (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
