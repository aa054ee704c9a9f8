"""The agent's spool: samples that the server has not acknowledged, numbered, in order, bounded, in memory."""

import os
from collections import deque
from collections.abc import Iterable
from itertools import dropwhile, islice
from typing import Any

from frota.core.clock import boottime
from frota.cpu.messages import Disk, Memory, Network, Own, Sample

_MAX_AGE_S = 29 * 86400.0  # the server rejects a sample that is older than 30 days
_RESUMED_MARGIN_S = 86400.0  # for how long samples from a file may still wait
_PARTS = {"memory": Memory, "disk": Disk, "network": Network, "own": Own}


class Spool:
    """The samples of a run, with sequence numbers that only grow; a gap is samples that were lost.

    `limit`: samples at most. `last`: the newest sample's number, 0 before the first. `acked`: the highest number that
    is on the server's disk. `sent`: the highest that any agent may have sent. `lost`: samples the server never gets.
    `delivered`, `dropped`: samples acknowledged, and dropped for a newer one, by this process.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.run = os.urandom(16).hex()
        self.last = self.acked = self.sent = self.lost = 0
        self.delivered = self.dropped = 0
        self._samples: deque[tuple[int, float, Sample]] = deque()  # number, time of the boot clock (s), sample

    @classmethod
    def resumed(
        cls, limit: int, run: str, last: int, acked: int, samples: Iterable[tuple[int, float, Sample]]
    ) -> "Spool":
        """Return a spool that continues a run with `samples` (number, age in s, sample), the newest `limit` of them."""
        spool, now = cls(limit), boottime()
        # Ages are capped: a host that was off for a month, or whose clock jumped, must not lose its samples for it.
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
        """Append a sample that was taken just now; return how many of the oldest were dropped for it."""
        self.last += 1
        self._samples.append((self.last, boottime(), sample))
        dropped = 0
        while len(self._samples) > self.limit or self._samples[0][1] < boottime() - _MAX_AGE_S:
            self._samples.popleft()
            dropped += 1
        self.dropped += dropped
        return dropped

    def acknowledge(self, number: int) -> None:
        """Delete the samples up to `number`, which is at most `last`: the server has them."""
        self.acked = max(self.acked, number)
        while self._samples and self._samples[0][0] <= number:
            self._samples.popleft()
            self.delivered += 1

    def discard(self, number: int) -> None:
        """Delete a sample that the server rejects; it counts as lost when a later one is sent."""
        self._samples = deque(entry for entry in self._samples if entry[0] != number)

    def after(self, number: int, limit: int) -> list[tuple[int, float, Sample]]:
        """Return the next samples after `number`, `limit` at most, as (number, age in seconds, sample)."""
        now = boottime()
        entries = islice(dropwhile(lambda entry: entry[0] <= number, self._samples), limit)
        return [(entry_number, max(0.0, now - taken), sample) for entry_number, taken, sample in entries]

    def continue_after(self, run: str, last: int, acked: int) -> None:
        """Continue the run of an agent that was killed, after the last number that it may have used.

        Samples of another run get numbers of a new one.
        """
        if run == self.run or not self._samples:
            self.run, self.last = run, max(last, self.last if run == self.run else 0)
            self.sent = self.last
            self.acknowledge(acked)
        else:
            self.start_new_run()

    def start_new_run(self) -> None:
        """Start a new run, and number the samples from 1."""
        self.run = os.urandom(16).hex()
        self._samples = deque((number, taken, sample) for number, (_, taken, sample) in enumerate(self._samples, 1))
        self.last, self.acked, self.sent = len(self._samples), 0, 0


def parse_sample(fields: dict[str, Any]) -> Sample:
    """Return a sample from the fields of its line. Raises LookupError and TypeError; the server checks the values."""
    parts: dict[str, Any] = {name: kind(**fields[name]) for name, kind in _PARTS.items() if fields.get(name)}
    return Sample(tuple(fields["cpu"]), fields["mean"], tuple(fields["load"]) if fields.get("load") else None, **parts)
