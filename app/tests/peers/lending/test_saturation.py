"""Saturation: service time, watermarks, shortage and spare workers."""

import math

import pytest

from frota.peers.lending.saturation import Load, Saturation, SaturationPolicy, ServiceTime


def saturation(service_s: float = 0.1, **policy: float) -> Saturation:
    return Saturation(SaturationPolicy(expected_service_s=service_s, **policy))  # type: ignore[arg-type]  # all floats


def steady(watch: Saturation, load: Load, until: float, since: float = 0.0) -> None:
    """Observe one load four times a second."""
    for tick in range(int(since * 4), int(until * 4) + 1):
        watch.observe(load, tick / 4)


def test_level_is_wait_over_target() -> None:
    """Saturation is backlog x service time / workers / target wait."""
    watch = saturation(service_s=0.5, target_wait_s=2.0)
    watch.observe(Load(waiting=80, busy=4, workers=4), 0.0)
    assert watch.wait_s == pytest.approx(10.0)
    assert watch.level == pytest.approx(5.0)


def test_no_worker_is_infinite_wait_only_with_tasks() -> None:
    """Without workers the wait is infinite if a task waits, and zero if none does."""
    watch = saturation()
    watch.observe(Load(0, 0, 0), 0.0)
    assert (watch.wait_s, watch.saturated) == (0.0, False)
    watch.observe(Load(1, 0, 0), 0.25)
    assert (watch.wait_s, watch.saturated, watch.shortage()) == (math.inf, True, 1)


def test_no_work_is_not_saturation() -> None:
    """A server without tasks is neither saturated nor short of workers."""
    watch = saturation()
    watch.observe(Load(0, 0, 4), 0.0)
    assert (watch.saturated, watch.shortage(), watch.spare(0.0)) == (False, 0, 4)


def test_hysteresis() -> None:
    """Saturation begins at the high watermark and ends at the low one."""
    watch = saturation(service_s=0.1, high_watermark=1.0, low_watermark=0.25)
    levels = []
    for waiting in (39, 40, 30, 11, 10, 39, 40):
        watch.observe(Load(waiting, 4, 4), 0.0)
        levels.append(watch.saturated)
    assert levels == [False, True, True, True, False, False, True]


def test_shortage_reaches_the_target_wait() -> None:
    """A saturated server lacks the workers that bring the wait down to its target."""
    watch = saturation(service_s=0.1)
    watch.observe(Load(waiting=100, busy=4, workers=4), 0.0)
    assert watch.shortage() == 6
    watch.observe(Load(waiting=100, busy=10, workers=10), 0.25)
    assert (watch.saturated, watch.shortage()) == (True, 0)


def test_steady_flow_keeps_its_workers() -> None:
    """Workers that a steady flow of tasks keeps busy are no surplus, however short the queue is."""
    watch = saturation()
    steady(watch, Load(waiting=0, busy=6, workers=10), until=20)
    assert watch.surplus() == 2  # 6 busy at 80 %: 8 workers
    steady(watch, Load(waiting=0, busy=0, workers=10), until=40, since=20.25)
    assert watch.surplus() == 10


def test_spare_waits_until_calm() -> None:
    """A server that was saturated lends nothing before `calm_s`, and never its reserve."""
    watch = saturation(calm_s=5.0, reserve=1)
    watch.observe(Load(100, 4, 4), 0.0)
    steady(watch, Load(0, 0, 4), until=4.75, since=0.25)
    assert watch.spare(4.75) == 0
    steady(watch, Load(0, 0, 4), until=20, since=5)
    assert watch.spare(20.0) == 3


def test_service_time_before_measurements() -> None:
    """Before the first measurement the expected time counts."""
    assert ServiceTime(0.01).seconds == 0.01


def test_slow_task_does_not_dominate() -> None:
    """One task that takes 1,000 times as long raises the mean by a quarter at most."""
    service = ServiceTime(0.01)
    for _ in range(100):
        service.record(0.01)
    service.record(10.0)
    assert 0.01 < service.seconds <= 0.0125


@pytest.mark.parametrize("factor", [100, 0.01])
def test_lasting_change_gets_through(factor: float) -> None:
    """A lasting change shows: after 60 tasks up, after 250 tasks down, the mean is near the new time."""
    service = ServiceTime(0.01)
    for _ in range(100):
        service.record(0.01)
    for _ in range(60 if factor > 1 else 250):
        service.record(0.01 * factor)
    assert service.seconds == pytest.approx(0.01 * factor, rel=0.5)


def test_first_measurements_are_a_mean() -> None:
    """A wrong expectation is corrected within ten tasks."""
    service = ServiceTime(0.01)
    for _ in range(10):
        service.record(0.001)
    assert service.seconds < 0.002


def test_batch_counts_as_its_tasks() -> None:
    """A batch counts as as many tasks as it has."""
    one, other = ServiceTime(0.01), ServiceTime(0.01)
    one.record(0.064, tasks=32)
    for _ in range(32):
        other.record(0.002)
    assert one.seconds == pytest.approx(other.seconds, rel=0.2)
