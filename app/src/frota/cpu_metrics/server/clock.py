"""The time of day that samples are dated by: the computer's, but for leaps that do not last."""

import time

from frota.core.clock import boottime
from frota.logs import log

_LEAP_SECONDS = 2.0  # more than any clock is wrong by that is set little by little
_LASTING_SECONDS = 60.0  # after which a clock that has leapt is taken for right


class Clock:
    """Goes on where it was while the computer's clock leaps, for a minute; then takes it as it is."""

    def __init__(self) -> None:
        self._offset = time.time() - boottime()
        self._leapt: float | None = None  # when, by the boottime clock

    def now(self) -> float:
        """Return seconds since 1970."""
        return boottime() + self._offset

    def sweep(self) -> None:
        """Compare with the computer's clock; to be called every second."""
        now = boottime()
        ahead = time.time() - now - self._offset
        if abs(ahead) <= _LEAP_SECONDS:
            self._offset += ahead
            if self._leapt is not None:
                log.record("INFO", "clock_restored", "the clock is as it was before it leapt")
            self._leapt = None
        elif self._leapt is None:
            self._leapt = now
            text = f"the clock has leapt by {ahead:+.0f} s: samples are dated by the time as it was before,"
            log.record("WARNING", "clock_jumped", f"{text} unless that lasts for {_LASTING_SECONDS:.0f} s")
        elif now - self._leapt >= _LASTING_SECONDS:
            self._offset, self._leapt = self._offset + ahead, None
            log.record(
                "WARNING", "clock_adopted", f"the clock stays {ahead:+.0f} s off: samples are dated by it from now on"
            )
