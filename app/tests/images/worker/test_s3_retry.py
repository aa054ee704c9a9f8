"""Retries during an outage of S3, and how often they are logged."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from frota.images.s3.bucket import StorageError
from frota.images.worker.s3_retry import OutageTimeout, S3Retry
from frota.logs import log


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Collect level and event of what is logged."""
    records: list[tuple[str, str]] = []

    def record(level: str, event: str, _text: str, **_: Any) -> None:
        records.append((level, event))

    monkeypatch.setattr(log, "record", record)
    return records


def outage(*outcomes: tuple[float, StorageError | None]) -> None:
    """Make one request that is answered so, each at its second."""
    now = 0.0
    remaining: Iterator[tuple[float, StorageError | None]] = iter(outcomes)

    async def request() -> None:
        nonlocal now
        now, error = next(remaining)
        if error:
            raise error

    retry = S3Retry(lambda: now, min_backoff_s=0.0)
    asyncio.run(retry.retry(request, retry.deadline()))


AWAY, REFUSED = StorageError("connection refused"), StorageError("403", permanent=True)


def test_outage_is_logged_once(records: list[tuple[str, str]]) -> None:
    """The begin and the end of an outage are logged once."""
    outage((0, AWAY), (1, AWAY), (500, AWAY), (501, None))
    assert records == [("WARNING", "storage_unavailable"), ("INFO", "storage_available")]


def test_permanent_failure_is_logged_per_minute(records: list[tuple[str, str]]) -> None:
    """A permanent failure is an error, logged once a minute."""
    outage((0, AWAY), (1, REFUSED), (2, REFUSED), (60.5, AWAY), (60.9, REFUSED), (61, REFUSED), (62, None))
    refused = ("ERROR", "storage_rejected")
    assert records == [("WARNING", "storage_unavailable"), refused, refused, ("INFO", "storage_available")]


def test_image_is_requeued_after_ten_minutes(records: list[tuple[str, str]]) -> None:
    """After ten minutes of an outage, the image has to be requeued."""
    with pytest.raises(OutageTimeout):
        outage((0, AWAY), (599, AWAY), (601, AWAY))
    assert records == [("WARNING", "storage_unavailable")]
    outage((0, AWAY), (599, AWAY), (601, None))


def test_requests_share_a_deadline(records: list[tuple[str, str]]) -> None:
    """All requests of a delivery share one deadline."""
    now, outcomes = 0.0, iter([(500.0, AWAY), (550.0, None), (601.0, AWAY)])

    async def request() -> None:
        nonlocal now
        now, error = next(outcomes)
        if error:
            raise error

    async def delivery() -> None:
        outage = S3Retry(lambda: now, min_backoff_s=0.0)
        deadline = outage.deadline()
        for _ in range(2):
            await outage.retry(request, deadline)

    with pytest.raises(OutageTimeout):
        asyncio.run(delivery())
    assert next(outcomes, None) is None
    assert records[:2] == [("WARNING", "storage_unavailable"), ("INFO", "storage_available")]
