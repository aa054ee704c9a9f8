"""Retries requests while S3 is unavailable: the broker keeps unacknowledged images meanwhile."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from frota.core.backoff import Backoff
from frota.images.s3.bucket import ObjectMissing, StorageError
from frota.logs import log

T = TypeVar("T")
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0  # doubled each time
_REMINDER_INTERVAL_S = 60.0
_REQUEUE_AFTER_S = 600.0  # a third of the broker's default consumer timeout


class OutageTimeout(Exception):
    """S3 has been unavailable for so long that the image should be requeued."""


class S3Retry:
    """Logs the begin and the end of an outage once, however many requests wait for it.

    A permanent failure is an error, logged again once a minute: somebody has to change the configuration.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, min_backoff_s: float = _MIN_BACKOFF_S) -> None:
        self._min_backoff_s = min_backoff_s
        self._clock, self._unavailable, self._next_reminder = clock, False, -math.inf
        self.failures_total = 0

    @property
    def available(self) -> bool:
        """Whether the last request succeeded."""
        return not self._unavailable

    def deadline(self) -> float:
        """Return when a delivery that starts now has to be requeued, over all its requests."""
        return self._clock() + _REQUEUE_AFTER_S

    async def retry(self, request: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Repeat a request with backoff until it succeeds. Raises ObjectMissing, OutageTimeout."""
        backoff = Backoff(self._min_backoff_s, _MAX_BACKOFF_S)
        while True:
            try:
                answer = await request()
            except ObjectMissing:
                raise
            except StorageError as error:
                self._log_failure(error)
                if self._clock() > deadline:
                    raise OutageTimeout from None
            else:
                self._log_recovery()
                return answer
            await asyncio.sleep(backoff.pause())

    def _log_failure(self, error: StorageError) -> None:
        self.failures_total += 1
        now = self._clock()
        if error.permanent and now >= self._next_reminder:
            self._next_reminder = now + _REMINDER_INTERVAL_S
            log.record(
                "ERROR",
                "storage_rejected",
                f"S3 rejects requests: check credentials, bucket and permissions; retrying: {error}",
            )
        elif not (self._unavailable or error.permanent):
            log.record("WARNING", "storage_unavailable", f"S3 is unavailable, trying again until it answers: {error}")
        self._unavailable = True

    def _log_recovery(self) -> None:
        if self._unavailable:
            self._unavailable = False
            log.record("INFO", "storage_available", "S3 answers again")
