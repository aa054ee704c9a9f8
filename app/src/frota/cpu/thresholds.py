"""Thresholds of percentages: a crossing is reported once, and its end once. No I/O."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from frota.cpu.messages import Sample
from frota.cpu.settings import Threshold


class Crossing(NamedTuple):
    """A threshold that a value has crossed, or (`over`) whose crossing has ended."""

    threshold: Threshold
    over: bool
    value: float


class Crossings:
    """The thresholds that one host has crossed; `crossed` are their metrics at first, separated by commas.

    Hysteresis in value and time: a crossing takes several samples in a row at `high` or above, its end as many at `low`
    or below, so that a value that oscillates around either is not reported again and again.
    """

    __slots__ = ("_counts", "_crossed")

    def __init__(self, crossed: str = "") -> None:
        self._crossed = frozenset(filter(None, crossed.split(",")))
        self._counts: dict[str, int] | None = None  # created on demand: most hosts need none

    @property
    def over(self) -> list[str]:
        """The metrics that are above their thresholds."""
        return sorted(self._crossed)

    def keep(self, thresholds: Sequence[Threshold]) -> bool:
        """Forget metrics without a threshold; tell whether there were any."""
        before, self._crossed = self._crossed, self._crossed & {threshold.metric for threshold in thresholds}
        return before != self._crossed

    def check(self, sample: Sample, thresholds: Sequence[Threshold], samples: int) -> Iterator[Crossing]:
        """Yield the crossings that this sample completes; each takes `samples` in a row."""
        for threshold in thresholds:
            value = percentage(sample, threshold.metric)
            crossed = threshold.metric in self._crossed
            if value is None or not (value <= threshold.low if crossed else value >= threshold.high):
                self._count(threshold.metric, 0)
            elif self._count(threshold.metric, 1) >= samples:
                self._count(threshold.metric, 0)
                self._crossed ^= {threshold.metric}
                yield Crossing(threshold, crossed, value)

    def _count(self, metric: str, more: int) -> int:
        """Add to the samples in a row of a metric, or reset them with 0."""
        if not more:
            if self._counts:
                self._counts.pop(metric, None)
            return 0
        self._counts = self._counts or {}
        self._counts[metric] = self._counts.get(metric, 0) + more
        return self._counts[metric]


def percentage(sample: Sample, metric: str) -> float | None:
    """Return a metric in percent, None if it was not measured."""
    if metric == "cpu":
        return sample.mean
    if metric == "memory":
        memory = sample.memory
        return 100 * (memory.total - memory.available) / memory.total if memory and memory.total else None
    disk = sample.disk
    return 100 * disk.used / disk.total if disk and disk.total else None
