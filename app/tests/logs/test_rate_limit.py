import pytest

from frota.logs import rate_limit
from frota.logs.rate_limit import RateLimitedLog, RateLimiter


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the reports of suppressed records, as they come."""
    texts: list[str] = []
    monkeypatch.setattr(rate_limit, "record", lambda _level, event, text, **_: texts.append(f"{event}: {text}"))
    return texts


def test_records_above_the_rate_are_suppressed(reports: list[str]) -> None:
    """Records above the rate are suppressed, and reported as one count."""
    limiter = RateLimiter("readings_suppressed", "readings", 2)
    assert [limiter.allow() for _ in range(5)] == [True, True, False, False, False]
    limiter.suppress(10)
    limiter.report()
    limiter.report()
    assert reports == ["readings_suppressed: 13 readings suppressed by the log's rate limit"]


def test_rate_is_per_second() -> None:
    """The whole rate is available again every second."""
    limiter = RateLimiter("readings_suppressed", "readings", 1)
    log = RateLimitedLog(limiter)
    log.sweep(100.0)
    assert limiter.allow()
    log.sweep(100.9)
    assert limiter.exhausted
    log.sweep(101.0)
    assert not limiter.exhausted


def test_suppressed_records_are_reported_after_10_s(reports: list[str]) -> None:
    """Suppressed records are reported after ten seconds."""
    limiter = RateLimiter("readings_suppressed", "readings", 0)
    log = RateLimitedLog(RateLimiter("requests_suppressed", "requests", 1), limiter)
    log.sweep(100.0)
    limiter.allow()
    log.sweep(109.9)
    assert reports == []
    log.sweep(110.0)
    assert reports == ["readings_suppressed: 1 readings suppressed by the log's rate limit"]


def test_new_rate_applies_from_the_next_second() -> None:
    """A new rate applies from the next second on."""
    requests = RateLimiter("requests_suppressed", "requests", 0)
    log = RateLimitedLog(requests)
    log.configure(1)
    log.sweep(100.0)
    assert [requests.allow(), requests.allow()] == [True, False]
