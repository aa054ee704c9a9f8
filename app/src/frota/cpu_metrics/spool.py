"""Samples that the server has not acknowledged yet: numbered, in order, bounded, in memory."""

import os
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice

from frota.cpu_metrics.messages import Sample

_OLDEST_SECONDS = 29 * 86400.0  # the server takes no sample that is older than 30 days


def clock() -> float:
    """Return seconds on a clock that nobody sets and that goes on while the computer sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Spool:
    """The samples of a run, from `first` on.

    `acked` is the highest number that the server has on its disk, `lost` how many it never got.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.run = os.urandom(16).hex()
        self.first, self.acked, self.lost = 1, 0, 0
        self._samples: deque[tuple[float, Sample]] = deque()

    @classmethod
    def resumed(
        cls, limit: int, run: str, next_number: int, acked: int, samples: Iterable[tuple[float, Sample]]
    ) -> "Spool":
        """Return a spool that goes on; of `samples`, taken so many seconds ago, the newest are kept."""
        spool, now = cls(limit), clock()
        spool._samples.extend((now - age, sample) for age, sample in deque(samples, limit))
        spool.run, spool.first, spool.acked = run, next_number - len(spool._samples), acked
        return spool

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def last(self) -> int:
        """The number of the newest sample, 0 before the first."""
        return self.first + len(self._samples) - 1

    def add(self, sample: Sample) -> int:
        """Keep a sample that was taken just now; return how many of the oldest had to go for it."""
        self._samples.append((clock(), sample))
        dropped = max(0, len(self._samples) - self.limit)
        while self._samples[dropped][0] < clock() - _OLDEST_SECONDS:
            dropped += 1
        self._forget(dropped)
        return dropped

    def acknowledge(self, number: int) -> None:
        """Forget what the server has; `number` is at most `last`."""
        self.acked = max(self.acked, number)
        self._forget(max(0, number - self.first + 1))

    def aged(self, after: int, most: int) -> list[tuple[int, float, Sample]]:
        """Return the next samples behind the number `after`, at most `most`, as (number, age in seconds, sample)."""
        start, now = max(0, after + 1 - self.first), clock()
        chosen = islice(self._samples, start, start + most)
        return [(self.first + start + i, max(0.0, now - taken), one) for i, (taken, one) in enumerate(chosen)]

    def renew(self) -> None:
        """Begin a new run with what waits, numbered from 1."""
        self.run = os.urandom(16).hex()
        self.first, self.acked = 1, 0

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._samples.popleft()
        self.first += count
