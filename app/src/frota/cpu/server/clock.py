"""The time of day that dates samples: the computer's, without clock jumps that do not last."""

import time

from frota.core.clock import boottime
from frota.logs import log

_JUMP_S = 2.0  # more than slewing ever takes
_ADOPTION_S = 60.0  # after which a clock that has jumped is taken as the right one


class Clock:
    """Ignores a jump of the computer's clock for a minute; then adopts it."""

    def __init__(self) -> None:
        self._offset = time.time() - boottime()
        self._jumped: float | None = None  # time of the jump, by the boottime clock

    def now(self) -> float:
        """Return seconds since 1970."""
        return boottime() + self._offset

    def sweep(self) -> None:
        """Compare with the computer's clock; call it every second."""
        now = boottime()
        ahead = time.time() - now - self._offset
        if abs(ahead) <= _JUMP_S:
            self._offset += ahead
            if self._jumped is not None:
                log.record("INFO", "clock_restored", "the clock has gone back: the jump is ignored")
            self._jumped = None
        elif self._jumped is None:
            self._jumped = now
            text = f"the clock has jumped by {ahead:+.0f} s: samples are dated as if it had not,"
            log.record("WARNING", "clock_jumped", f"{text} unless the jump lasts for {_ADOPTION_S:.0f} s")
        elif now - self._jumped >= _ADOPTION_S:
            self._offset, self._jumped = self._offset + ahead, None
            log.record(
                "WARNING", "clock_adopted", f"the clock stays {ahead:+.0f} s off: samples are dated by it from now on"
            )
