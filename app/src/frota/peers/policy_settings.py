"""The settings of the pure modules: tasks, lending, saturation and liveness, as parts of the server's settings."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from frota.core.settings import setting
from frota.peers.lending.liveness import LivenessPolicy
from frota.peers.lending.policy import LoanPolicy
from frota.peers.lending.saturation import SaturationPolicy
from frota.peers.tasks import TaskPolicy

T = TypeVar("T")
_S = "seconds"


def _policy(cls: type[T], config: object) -> T:
    """Build a policy from the settings of the same names."""
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]  # a dataclass
    values: dict[str, Any] = {name: getattr(config, name) for name in names}
    return cls(**values)


@dataclass(frozen=True)
class TaskLimits:
    """The fields of TaskPolicy."""

    lease_s: float = setting(
        30.0, "how long a worker may have a task without a sign of life", unit=_S, low=0.1, high=1e5
    )
    max_attempts: int = setting(5, "failed attempts after which a task is dead", low=1, high=1000)
    max_waiting: int = setting(100_000, "waiting tasks, above which further ones are rejected", low=1, high=10**7)
    keep_results_s: float = setting(60.0, "how long results stay in memory", unit=_S, low=0, high=1e6)
    max_results: int = setting(20_000, "results in memory, the newest", low=0, high=10**7)
    max_dead: int = setting(10_000, "dead tasks in memory, the newest", low=0, high=10**7)

    @property
    def task_policy(self) -> TaskPolicy:
        """The limits of tasks."""
        return _policy(TaskPolicy, self)


@dataclass(frozen=True)
class SaturationLimits:
    """The fields of SaturationPolicy."""

    target_wait_s: float = setting(1.0, "wait of a task that a server aims at", unit=_S, low=0.001, high=1e5)
    high_watermark: float = setting(1.0, "saturation from which the server asks for workers", low=0.01, high=1e6)
    low_watermark: float = setting(0.25, "saturation from which it does not any more", low=0, high=1e6)
    averaging_s: float = setting(2.0, "time constant of the average number of busy workers", unit=_S, low=0.1, high=1e4)
    max_utilization: float = setting(0.8, "busy share of the workers that a server keeps", low=0.01, high=1)
    calm_s: float = setting(5.0, "how long a server lends nothing after a saturation", unit=_S, low=0, high=1e5)
    reserve: int = setting(0, "workers that are never lent", low=0, high=10**5)
    expected_service_s: float = setting(0.01, "time of a task, before any is measured", unit=_S, low=1e-6, high=1e5)

    @property
    def saturation_policy(self) -> SaturationPolicy:
        """When the server is saturated."""
        return _policy(SaturationPolicy, self)


@dataclass(frozen=True)
class LoanLimits:
    """The fields of LoanPolicy."""

    term_s: float = setting(15.0, "term of a loan, and of each renewal", unit=_S, low=0.5, high=86400)
    renew_every_s: float = setting(5.0, "time between two renewals of a loan", unit=_S, low=0.1, high=86400)
    margin_s: float = setting(2.0, "by which the owner's record outlasts the borrower's", unit=_S, low=0.3, high=3600)
    legacy_term_s: float = setting(60.0, "term of a loan to or from a legacy peer", unit=_S, low=0.5, high=86400)
    visit_s: float = setting(30.0, "how long a worker is taken in without a loan", unit=_S, low=1, high=86400)
    request_timeout_s: float = setting(2.0, "how long a peer may take to answer", unit=_S, low=0.1, high=3600)
    refusal_pause_s: float = setting(2.0, "pause before a peer that refused is asked again", unit=_S, low=0, high=3600)
    demand_lasts_s: float = setting(6.0, "how long an unsatisfied request counts", unit=_S, low=0.5, high=3600)
    arrival_timeout_s: float = setting(5.0, "how long a promised worker may be on its way", unit=_S, low=0.5, high=3600)
    leave_timeout_s: float = setting(5.0, "how long a worker that is sent home may stay", unit=_S, low=0.5, high=3600)
    drain_s: float = setting(10.0, "how long it may finish tasks after its loan", unit=_S, low=0, high=3600)
    forget_after_s: float = setting(3600.0, "after which an absent worker is forgotten", unit=_S, low=1, high=1e7)
    max_borrowed: int = setting(1000, "borrowed workers at a time", low=0, high=10**5)
    max_workers: int = setting(10_000, "own workers that the server keeps a record of", low=1, high=10**6)

    @property
    def loan_policy(self) -> LoanPolicy:
        """The limits and times of loans."""
        return _policy(LoanPolicy, self)


@dataclass(frozen=True)
class LivenessLimits:
    """The fields of LivenessPolicy."""

    heartbeat_every_s: float = setting(10.0, "time between two heartbeats to a peer", unit=_S, low=0.1, high=3600)
    down_after_s: float = setting(25.0, "silence after which a peer is down", unit=_S, low=0.2, high=86400)
    down_after_failures: int = setting(5, "failed attempts after which a peer is down", low=1, high=1000)
    retry_every_s: float = setting(2.0, "pause after a failed attempt", unit=_S, low=0.05, high=3600)

    @property
    def liveness_policy(self) -> LivenessPolicy:
        """When a peer is down."""
        return _policy(LivenessPolicy, self)
