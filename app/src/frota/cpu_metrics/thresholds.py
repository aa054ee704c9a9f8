"""Percentages that are too high: told once when they have been crossed, and once when they are over."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from frota.cpu_metrics.messages import Sample
from frota.cpu_metrics.settings import Threshold


class Crossing(NamedTuple):
    """A threshold that was crossed upwards, or (`over`) left downwards again, with the percentage that did it."""

    threshold: Threshold
    over: bool
    value: float


class Crossings:
    """Which thresholds one host has crossed; `crossed` are those that it had already, with commas between them.

    Hysteresis in two dimensions: a crossing takes `samples` in a row at `high` or above, its end as many at `low` or
    below, so that a value that swings around either is not told again and again.
    """

    __slots__ = ("_counts", "_crossed")

    def __init__(self, crossed: str = "") -> None:
        self._crossed = frozenset(filter(None, crossed.split(",")))
        self._counts: dict[str, int] | None = None  # most hosts never need one

    @property
    def over(self) -> list[str]:
        """The metrics that are above their thresholds."""
        return sorted(self._crossed)

    def keep(self, thresholds: Sequence[Threshold]) -> bool:
        """Know nothing any more of metrics that have no threshold; tell whether anything was known."""
        before, self._crossed = self._crossed, self._crossed & {threshold.metric for threshold in thresholds}
        return before != self._crossed

    def take(self, sample: Sample, thresholds: Sequence[Threshold], samples: int) -> Iterator[Crossing]:
        """Yield what this sample crosses or leaves."""
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
        """Count one more in a row, or begin anew with 0."""
        if not more:
            if self._counts:
                self._counts.pop(metric, None)
            return 0
        self._counts = self._counts or {}
        self._counts[metric] = self._counts.get(metric, 0) + more
        return self._counts[metric]


def percentage(sample: Sample, metric: str) -> float | None:
    """Return a metric in percent, None where it was not measured."""
    if metric == "cpu":
        return sample.mean
    if metric == "memory":
        memory = sample.memory
        return 100 * (memory.total - memory.available) / memory.total if memory and memory.total else None
    disk = sample.disk
    return 100 * disk.used / disk.total if disk and disk.total else None
