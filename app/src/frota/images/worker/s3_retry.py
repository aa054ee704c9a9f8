"""Trying again while S3 is away: nothing is lost by it, since the broker keeps what is not acknowledged."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from frota.core.backoff import Backoff
from frota.images.s3.bucket import ObjectMissing, StorageError
from frota.logs import log

T = TypeVar("T")
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0  # seconds, doubled each time
_REMINDER_INTERVAL_S = 60.0
_REQUEUE_AFTER_S = 600.0  # a third of what a broker allows that knows no other limit


class OutageTimeout(Exception):
    """S3 has been away for so long that the image should wait in the queue instead."""


class S3Retry:
    """Says once that S3 is away, and once that it is back, however many wait for it.

    What does not pass by itself is an error, and said again once a minute: somebody has to do something.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._unavailable, self._next_reminder = clock, False, -math.inf

    def deadline(self) -> float:
        """Return until when a delivery may be held that begins now, over all its requests."""
        return self._clock() + _REQUEUE_AFTER_S

    async def retry(self, request: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Make a request until it is answered; pauses grow, with jitter. Raises ObjectMissing, OutageTimeout."""
        backoff = Backoff(_MIN_BACKOFF_S, _MAX_BACKOFF_S)
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
        now = self._clock()
        if error.permanent and now >= self._next_reminder:
            self._next_reminder = now + _REMINDER_INTERVAL_S
            log.record("ERROR", "storage_rejected", f"trying again, but this will not pass by itself: {error}")
        elif not (self._unavailable or error.permanent):
            log.record("WARNING", "storage_unavailable", f"trying again until it answers: {error}")
        self._unavailable = True

    def _log_recovery(self) -> None:
        if self._unavailable:
            self._unavailable = False
            log.record("INFO", "storage_available", "S3 answers again")
