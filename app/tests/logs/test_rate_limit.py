import pytest

from frota.logs import rate_limit
from frota.logs.rate_limit import RateLimitedLog, RateLimiter


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the reports of suppressed records, as they come."""
    texts: list[str] = []
    monkeypatch.setattr(rate_limit, "record", lambda _level, event, text, **_: texts.append(f"{event}: {text}"))
    return texts


def test_records_beyond_the_rate_are_suppressed_and_reported_together(reports: list[str]) -> None:
    limiter = RateLimiter("readings_suppressed", "readings", 2)
    assert [limiter.allow() for _ in range(5)] == [True, True, False, False, False]
    limiter.suppress(10)
    limiter.report()
    limiter.report()
    assert reports == ["readings_suppressed: 13 readings suppressed by the log's rate limit"]


def test_each_second_begins_with_the_whole_rate() -> None:
    limiter = RateLimiter("readings_suppressed", "readings", 1)
    log = RateLimitedLog(limiter)
    log.sweep(100.0)
    assert limiter.allow()
    log.sweep(100.9)
    assert limiter.exhausted
    log.sweep(101.0)
    assert not limiter.exhausted


def test_what_is_suppressed_is_reported_after_ten_seconds(reports: list[str]) -> None:
    limiter = RateLimiter("readings_suppressed", "readings", 0)
    log = RateLimitedLog(RateLimiter("requests_suppressed", "requests", 1), limiter)
    log.sweep(100.0)
    limiter.allow()
    log.sweep(109.9)
    assert reports == []
    log.sweep(110.0)
    assert reports == ["readings_suppressed: 1 readings suppressed by the log's rate limit"]


def test_another_rate_holds_from_the_next_second_on() -> None:
    requests = RateLimiter("requests_suppressed", "requests", 0)
    log = RateLimitedLog(requests)
    log.configure(1)
    log.sweep(100.0)
    assert [requests.allow(), requests.allow()] == [True, False]
