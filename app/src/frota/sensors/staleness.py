"""Which readings are out of range, and which sensors are stale. No I/O."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from frota.sensors import names, units
from frota.sensors.messages import Parts

_MAX_SPELLINGS = 1000  # of kinds and units in the cache
Limits = tuple[float, float] | None


class Range(NamedTuple):
    """The plausible values of a kind in a unit, both ends included, in any spelling of both."""

    kind: str
    low: float
    high: float
    unit: str

    @property
    def key(self) -> tuple[str, str]:
        """Its kind and unit in canonical form."""
        return _key(self.kind, self.unit)

    def __str__(self) -> str:
        return f"{self.kind}:{self.low:g}:{self.high:g}:{self.unit}"


class SensorMonitor:
    """Checks readings, and knows when each sensor was last seen, of `max_sensors` at most."""

    def __init__(self, ranges: Iterable[Range], stale_after: float, max_sensors: int = 10_000) -> None:
        self._last_seen: dict[str, float] = {}
        self._stale: set[str] = set()
        self._max_sensors = max_sensors
        self.configure(ranges, stale_after)

    def configure(self, ranges: Iterable[Range], stale_after: float) -> None:
        """Replace the ranges, and the time without a reading (seconds, 0 for never) after which a sensor is stale."""
        self._ranges = {one.key: (one.low, one.high) for one in ranges}
        self._limits: dict[tuple[str, str], Limits] = {}  # by kind and unit as they are spelled, a cache
        self._stale_after = stale_after

    def check(self, readings: Sequence[Parts], now: float) -> list[int]:
        """Note that the sensors were seen `now` (monotonic seconds); return the indices of readings out of range."""
        limits_of = self._limits
        out_of_range = []
        for index, (_, kind, value, unit) in enumerate(readings):
            try:
                limits = limits_of[kind, unit]
            except KeyError:
                limits = self._cache_limits(kind, unit)
            try:
                if limits is not None and not limits[0] <= float(value) <= limits[1]:
                    out_of_range.append(index)
            except ValueError:  # no number, so in no range; the other readings of the batch go on
                out_of_range.append(index)
        known = len(self._last_seen)
        self._last_seen.update([(reading[0], now) for reading in readings])
        if len(self._last_seen) > known:
            self._rename_new(len(self._last_seen) - known, now)
        return out_of_range

    def _rename_new(self, count: int, now: float) -> None:
        """Replace the newest `count` names by their canonical form; drop the newest above the limit.

        Another spelling of a known name is new at each reading and comes here; canonical names cost nothing.
        """
        for name in list(islice(reversed(self._last_seen), count)):
            if (composed := names.composed(name)) != name:
                del self._last_seen[name]
                self._last_seen[composed] = now
        while len(self._last_seen) > self._max_sensors:
            self._last_seen.popitem()  # the newest: made-up names must not displace real sensors

    def _cache_limits(self, kind: str, unit: str) -> Limits:
        """Return the limits of a kind and unit in this spelling, and cache them."""
        if len(self._limits) >= _MAX_SPELLINGS:
            self._limits.clear()
        return self._limits.setdefault((kind, unit), self._ranges.get(_key(kind, unit)))

    def counts(self) -> dict[str, int]:
        """Return how many sensors are stale, and how many are not, as of the last sweep."""
        return {"current": len(self._last_seen) - len(self._stale), "stale": len(self._stale)}

    def sweep(self, now: float) -> tuple[list[str], list[str]]:
        """Return the sensors that have become stale since the last call, and those that have recovered."""
        if not self._stale_after:
            return [], []
        stale = {sensor for sensor, seen in self._last_seen.items() if now - seen > self._stale_after}
        new, recovered = stale - self._stale, self._stale - stale
        self._stale = stale
        return sorted(new), sorted(recovered)


def _key(kind: str, unit: str) -> tuple[str, str]:
    """Return a kind and a unit in canonical form."""
    return names.composed(kind), units.canonical(unit)
