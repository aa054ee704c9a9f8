"""How saturated a server is, how many workers it lacks, and how many it can spare. No I/O.

    saturation = waiting tasks x service time / workers / target wait

The first three factors are the wait of a task that arrives now. A server is saturated from the high watermark on, until
its saturation falls to the low one. It asks for as many workers as reach the target wait. It never gives away workers
that the flow of tasks keeps busy on average, however short the queue is: otherwise a server with a steady load would
return its borrowed workers as soon as they have worked off the queue, only to ask for them again.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class SaturationPolicy:
    """When a server is saturated; times in seconds."""

    target_wait_s: float = 1.0
    high_watermark: float = 1.0  # of the saturation
    low_watermark: float = 0.25
    averaging_s: float = 2.0  # time constant of the average number of busy workers
    max_utilization: float = 0.8  # busy share of the workers that a server keeps
    calm_s: float = 5.0  # a server that was saturated lends no worker before this time
    reserve: int = 0  # workers that a server never lends
    expected_service_s: float = 0.01  # counts as the first measurement


class Load(NamedTuple):
    """What a server does now."""

    waiting: int  # tasks
    busy: int  # workers that hold tasks
    workers: int  # workers that can get tasks, the busy ones included


class ServiceTime:
    """The mean time of a worker for a task: an exponentially weighted average with clamped outliers.

    A measurement counts as at most CLAMP times the average, so that one slow task raises it by a quarter at most,
    and a lasting change by a factor of 100 still gets through within 25 tasks. The first measurements are a plain mean,
    to which the expected time belongs: there is a sensible value before the first measurement.
    """

    CLAMP = 8.0
    WINDOW = 32  # tasks

    def __init__(self, expected_s: float) -> None:
        self.seconds = expected_s
        self._count = 1

    def record(self, seconds: float, tasks: int = 1) -> None:
        """Count `tasks` that took a worker `seconds` together."""
        self._count = min(self.WINDOW, self._count + tasks)
        weight = min(1.0, tasks / self._count)
        measured = min(seconds / tasks, self.CLAMP * self.seconds)
        self.seconds = max(1e-6, self.seconds + weight * (measured - self.seconds))


class Saturation:
    """Watches the load of one server."""

    def __init__(self, policy: SaturationPolicy | None = None) -> None:
        self.policy = policy or SaturationPolicy()
        self.service = ServiceTime(self.policy.expected_service_s)
        self.load = Load(0, 0, 0)
        self.saturated = False
        self._average_busy = 0.0
        self._observed_at = -math.inf
        self._saturated_at = -math.inf

    @property
    def wait_s(self) -> float:
        """The wait of a task that arrives now; infinite where tasks wait and no worker is left."""
        work = self.load.waiting * self.service.seconds
        return work / self.load.workers if self.load.workers else math.inf if work else 0.0

    @property
    def level(self) -> float:
        """The saturation."""
        return self.wait_s / self.policy.target_wait_s

    def observe(self, load: Load, now: float) -> None:
        """Take the load into account; call it several times per `averaging_s`."""
        age = now - self._observed_at
        self._average_busy += (load.busy - self._average_busy) * -math.expm1(-age / self.policy.averaging_s)
        self._observed_at = now
        self.load = load
        limit = self.policy.low_watermark if self.saturated else self.policy.high_watermark
        self.saturated = self.level > limit or (self.level == limit and not self.saturated)
        if self.saturated:
            self._saturated_at = now

    def shortage(self) -> int:
        """Return how many workers a saturated server lacks to reach the target wait; 0 for others."""
        if not self.saturated:
            return 0
        return max(0, math.ceil(self._needed_for_queue()) - self.load.workers)

    def surplus(self) -> int:
        """Return how many workers the server does not need, busy ones included; 0 while it is saturated."""
        if self.saturated:
            return 0
        needed = max(self._needed_for_queue(), self._average_busy / self.policy.max_utilization)
        return max(0, self.load.workers - math.ceil(needed - 0.05))  # an average never falls to zero

    def spare(self, now: float) -> int:
        """Return how many workers the server can lend; 0 while it is saturated and for `calm_s` after it."""
        calm = not self.saturated and now - self._saturated_at >= self.policy.calm_s
        return max(0, self.surplus() - self.policy.reserve) if calm else 0

    def _needed_for_queue(self) -> float:
        return self.load.waiting * self.service.seconds / self.policy.target_wait_s
