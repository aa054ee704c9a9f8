"""The measured time of a load that keeps items outstanding: whole windows only, because they may finish in waves."""

import time

from bench.core.load import Stats, make_stats


class SteadyState:
    """Counts finished items.

    The warm-up ends with the first whole window after a quarter of `seconds`, and the measurement with the first one
    after `seconds`. Submit items until it is `over`.
    """

    def __init__(self, seconds: float, window: int) -> None:
        self._seconds, self._window = seconds, window
        self._earliest = time.monotonic() + seconds / 4
        self._start = self._busy = self._elapsed = 0.0
        self._before = self._count = 0  # items finished before the measurement, and in it
        self.finished = 0
        self.over = False

    def finish(self) -> None:
        """Count an item."""
        self.finished += 1
        if self.over or self.finished % self._window:
            return
        now = time.monotonic()
        if not self._start and now >= self._earliest:
            self._start, self._before, self._busy = now, self.finished, time.process_time()
        elif self._start and now >= self._start + self._seconds:
            self.over = True
            self._elapsed, self._count = now - self._start, self.finished - self._before
            self._busy = time.process_time() - self._busy

    def stats(self, tasks: int) -> Stats:
        """Return the statistics, with `tasks` tasks in each item."""
        count = tasks * self._count
        stats = make_stats([], self._elapsed, [tasks * self.finished], self._busy)
        return {**stats, "count": count, "rate": count / self._elapsed}
