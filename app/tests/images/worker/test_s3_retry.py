"""S3's outages: tried again for ever, and said as often as somebody has to hear of them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from frota.images.s3.bucket import StorageError
from frota.images.worker import s3_retry
from frota.images.worker.s3_retry import OutageTimeout, S3Retry
from frota.logs import log


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Collect level and event of what is logged, and let nobody wait between two tries."""
    records: list[tuple[str, str]] = []

    def record(level: str, event: str, _text: str, **_: Any) -> None:
        records.append((level, event))

    monkeypatch.setattr(log, "record", record)
    monkeypatch.setattr(s3_retry, "_MIN_BACKOFF_S", 0.0)
    return records


def outage(*answers: tuple[float, StorageError | None]) -> None:
    """Make one request that is answered so, each at its second."""
    now = 0.0
    left: Iterator[tuple[float, StorageError | None]] = iter(answers)

    async def request() -> None:
        nonlocal now
        now, error = next(left)
        if error:
            raise error

    ours = S3Retry(lambda: now)
    asyncio.run(ours.retry(request, ours.deadline()))


AWAY, REFUSED = StorageError("connection refused"), StorageError("403", permanent=True)


def test_an_outage_is_said_once_and_its_end_once(said: list[tuple[str, str]]) -> None:
    outage((0, AWAY), (1, AWAY), (500, AWAY), (501, None))
    assert said == [("WARNING", "storage_unavailable"), ("INFO", "storage_available")]


def test_what_does_not_pass_by_itself_is_an_error_once_a_minute(said: list[tuple[str, str]]) -> None:
    outage((0, AWAY), (1, REFUSED), (2, REFUSED), (60.5, AWAY), (60.9, REFUSED), (61, REFUSED), (62, None))
    refused = ("ERROR", "storage_rejected")
    assert said == [("WARNING", "storage_unavailable"), refused, refused, ("INFO", "storage_available")]


def test_an_image_is_let_go_of_when_s3_was_away_for_ten_minutes(said: list[tuple[str, str]]) -> None:
    with pytest.raises(OutageTimeout):
        outage((0, AWAY), (599, AWAY), (601, AWAY))
    assert said == [("WARNING", "storage_unavailable")]
    outage((0, AWAY), (599, AWAY), (601, None))


def test_all_requests_of_a_delivery_share_the_ten_minutes(said: list[tuple[str, str]]) -> None:
    now, answers = 0.0, iter([(500.0, AWAY), (550.0, None), (601.0, AWAY)])

    async def request() -> None:
        nonlocal now
        now, error = next(answers)
        if error:
            raise error

    async def delivery() -> None:
        outage = S3Retry(lambda: now)
        deadline = outage.deadline()
        for _ in range(2):
            await outage.retry(request, deadline)

    with pytest.raises(OutageTimeout):
        asyncio.run(delivery())
    assert next(answers, None) is None
    assert said[:2] == [("WARNING", "storage_unavailable"), ("INFO", "storage_available")]
