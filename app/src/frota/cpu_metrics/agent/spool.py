"""Samples that the server has not acknowledged yet: numbered, in order, bounded, in memory."""

import os
from collections import deque
from collections.abc import Iterable
from itertools import dropwhile, islice

from frota.core.clock import boottime
from frota.cpu_metrics.messages import Sample

_MAX_AGE_S = 29 * 86400.0  # the server takes no sample that is older than 30 days
_RESUMED_MARGIN_S = 86400.0  # that what an agent finds from before may still wait


class Spool:
    """The samples of a run: their numbers only grow, and are left out where samples were lost.

    `acked` is the highest number that the server has on its disk, `lost` how many it never got.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.run = os.urandom(16).hex()
        self.last = self.acked = self.lost = 0  # `last` is the number of the newest sample, 0 before the first
        self.sent = 0  # the highest number that may have been sent, by this agent or by one before it
        self._samples: deque[tuple[int, float, Sample]] = deque()

    @classmethod
    def resumed(
        cls, limit: int, run: str, last: int, acked: int, samples: Iterable[tuple[int, float, Sample]]
    ) -> "Spool":
        """Return a spool that goes on; of `samples`, numbered and taken so many seconds ago, the newest are kept."""
        spool, now = cls(limit), boottime()
        # Older ones are not taken: who was off for so long, or whose clock has leapt, is not to lose them for that.
        spool._samples.extend(
            (number, now - min(age, _MAX_AGE_S - _RESUMED_MARGIN_S), sample)
            for number, age, sample in deque(samples, limit)
        )
        spool.run, spool.last, spool.acked = run, last, acked
        spool.sent = last
        return spool

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def oldest_age(self) -> float:
        """The age of the oldest sample, in seconds; 0 without one."""
        return boottime() - self._samples[0][1] if self._samples else 0.0

    def add(self, sample: Sample) -> int:
        """Keep a sample that was taken just now; return how many of the oldest had to go for it."""
        self.last += 1
        self._samples.append((self.last, boottime(), sample))
        dropped = 0
        while len(self._samples) > self.limit or self._samples[0][1] < boottime() - _MAX_AGE_S:
            self._samples.popleft()
            dropped += 1
        return dropped

    def acknowledge(self, number: int) -> None:
        """Forget what the server has; `number` is at most `last`."""
        self.acked = max(self.acked, number)
        while self._samples and self._samples[0][0] <= number:
            self._samples.popleft()

    def discard(self, number: int) -> None:
        """Keep a sample no more that the server does not take; it is lost as soon as one behind it is sent."""
        self._samples = deque(one for one in self._samples if one[0] != number)

    def after(self, after: int, most: int) -> list[tuple[int, float, Sample]]:
        """Return the next samples behind the number `after`, at most `most`, as (number, age in seconds, sample)."""
        now = boottime()
        behind = dropwhile(lambda one: one[0] <= after, self._samples)
        return [(number, max(0.0, now - taken), sample) for number, taken, sample in islice(behind, most)]

    def continue_after(self, run: str, last: int, acked: int) -> None:
        """Go on behind an agent that was killed, and may have used numbers that are not here."""
        if run == self.run or not self._samples:
            self.run, self.last = run, max(last, self.last if run == self.run else 0)
            self.sent = self.last
            self.acknowledge(acked)
        else:
            self.start_new_run()

    def start_new_run(self) -> None:
        """Begin a new run with what waits, numbered from 1."""
        self.run = os.urandom(16).hex()
        self._samples = deque((number, taken, one) for number, (_, taken, one) in enumerate(self._samples, 1))
        self.last, self.acked, self.sent = len(self._samples), 0, 0
