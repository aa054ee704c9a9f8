"""Clocks."""

import time


def boottime() -> float:
    """Return the seconds since boot, suspend included; no change of the date affects them (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
