"""What the server knows about its sensors: which values are plausible, who has fallen silent. No I/O."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from frota.sensors import names, units
from frota.sensors.messages import Parts

_MOST_SPELLINGS = 1000  # of kinds and units that are remembered
Limits = tuple[float, float] | None


class Range(NamedTuple):
    """Which values of one kind of reading in one unit are plausible, both ends included, in any spelling."""

    kind: str
    low: float
    high: float
    unit: str

    @property
    def key(self) -> tuple[str, str]:
        """What all spellings of its kind and unit have in common."""
        return _key(self.kind, self.unit)

    def __str__(self) -> str:
        return f"{self.kind}:{self.low:g}:{self.high:g}:{self.unit}"


class SensorMonitor:
    """Judges every reading and remembers when each sensor was last heard, at most `most` of them."""

    def __init__(self, ranges: Iterable[Range], stale_after: float, most: int = 10_000) -> None:
        self._seen: dict[str, float] = {}
        self._stale: set[str] = set()
        self._most = most
        self.configure(ranges, stale_after)

    def configure(self, ranges: Iterable[Range], stale_after: float) -> None:
        """Take new ranges and a new time (seconds, 0 for never) after which a silent sensor is stale."""
        self._ranges = {one.key: (one.low, one.high) for one in ranges}
        self._limits: dict[tuple[str, str], Limits] = {}  # by kind and unit as they are spelled
        self._stale_after = stale_after

    def check(self, readings: Sequence[Parts], now: float) -> list[int]:
        """Note who was heard `now` (monotonic seconds); return which of the readings are out of range."""
        limits_of = self._limits
        outside = []
        for index, (_, kind, value, unit) in enumerate(readings):
            try:
                limits = limits_of[kind, unit]
            except KeyError:
                limits = self._learn(kind, unit)
            try:
                if limits is not None and not limits[0] <= float(value) <= limits[1]:
                    outside.append(index)
            except ValueError:  # what is no number is in no range, and must not cost the others of its batch theirs
                outside.append(index)
        known = len(self._seen)
        self._seen.update([(reading[0], now) for reading in readings])
        if len(self._seen) > known:
            self._settle(len(self._seen) - known, now)
        return outside

    def _settle(self, count: int, now: float) -> None:
        """Keep the newest so many names in the form in which names are compared, as far as they are not too many.

        So another spelling of a known name is new, and comes here, each time; all others cost nothing.
        """
        for name in list(islice(reversed(self._seen), count)):
            if (composed := names.composed(name)) != name:
                del self._seen[name]
                self._seen[composed] = now
        while len(self._seen) > self._most:
            self._seen.popitem()  # the newest: names that somebody makes up must not push out real sensors

    def _learn(self, kind: str, unit: str) -> Limits:
        """Return the limits of a kind and unit in this spelling, and remember them."""
        if len(self._limits) >= _MOST_SPELLINGS:
            self._limits.clear()
        return self._limits.setdefault((kind, unit), self._ranges.get(_key(kind, unit)))

    def sweep(self, now: float) -> tuple[list[str], list[str]]:
        """Return the sensors that have become stale since the last call, and those that are back."""
        if not self._stale_after:
            return [], []
        silent = {sensor for sensor, heard in self._seen.items() if now - heard > self._stale_after}
        stale, back = silent - self._stale, self._stale - silent
        self._stale = silent
        return sorted(stale), sorted(back)


def _key(kind: str, unit: str) -> tuple[str, str]:
    """Return what all spellings of a kind and a unit have in common."""
    return names.composed(kind), units.canonical(unit)
