"""The measured time of a load that keeps items outstanding: whole windows only, because they may finish in waves."""

import time
from collections.abc import Sequence

from bench.core.load import Stats, make_stats
from bench.core.process import cpu_seconds


def parse_pids(text: str) -> list[int]:
    """Return the process ids of an argument (`sides.join`)."""
    return [int(part) for part in text.split(",")]


class SteadyState:
    """Counts finished items, and the CPU time of the processes `pids`, their children, and this process.

    The warm-up ends with the first whole window after a quarter of `seconds`, and the measurement with the first one
    after `seconds`. Submit items until it is `over`.
    """

    def __init__(self, seconds: float, window: int, pids: Sequence[int]) -> None:
        self._seconds, self._window, self._pids = seconds, window, pids
        self._earliest = time.monotonic() + seconds / 4
        self._start = self._elapsed = self._cpu = self._own_cpu = 0.0
        self._count = 0  # items finished in the measured time
        self.finished = 0
        self.over = False

    def finish(self) -> None:
        """Count an item."""
        self.finished += 1
        if self.over or self.finished % self._window:
            return
        now = time.monotonic()
        if not self._start and now >= self._earliest:
            self._start = now
            self._note(-1)
        elif self._start and now >= self._start + self._seconds:
            self.over, self._elapsed = True, now - self._start
            self._note(1)

    def _note(self, sign: int) -> None:
        """Subtract what was counted before the measurement, or add what was at its end."""
        own = time.process_time()
        self._count += sign * self.finished
        self._own_cpu += sign * own
        self._cpu += sign * (own + sum(cpu_seconds(pid) for pid in self._pids))

    def stats(self, tasks: int) -> Stats:
        """Return the statistics, with `tasks` tasks in each item."""
        count = tasks * self._count
        stats = make_stats([], self._elapsed, [tasks * self.finished], self._own_cpu)
        return {**stats, "count": count, "rate": count / self._elapsed, "cpu_us": 1e6 * self._cpu / count}
