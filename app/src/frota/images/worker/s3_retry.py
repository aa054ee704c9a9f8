"""Trying again while S3 is away: nothing is lost by it, since the broker keeps what is not acknowledged."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from frota.core.backoff import Backoff
from frota.images.s3.bucket import MissingError, StorageError
from frota.logs import log

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds, doubled each time
_REMIND_SECONDS = 60.0
_HOLD_SECONDS = 600.0  # a third of what a broker allows that knows no other limit


class HeldError(Exception):
    """S3 has been away for so long that the image should wait in the queue instead."""


class S3Retry:
    """Says once that S3 is away, and once that it is back, however many wait for it.

    What does not pass by itself is an error, and said again once a minute: somebody has to do something.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._away, self._remind = clock, False, -math.inf

    def deadline(self) -> float:
        """Return until when a delivery may be held that begins now, over all its requests."""
        return self._clock() + _HOLD_SECONDS

    async def retry(self, request: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Make a request until it is answered; pauses grow, with jitter. Raises MissingError, HeldError."""
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                answer = await request()
            except MissingError:
                raise
            except StorageError as error:
                self._begin(error)
                if self._clock() > deadline:
                    raise HeldError from None
            else:
                self._end()
                return answer
            await asyncio.sleep(backoff.pause())

    def _begin(self, error: StorageError) -> None:
        now = self._clock()
        if error.lasting and now >= self._remind:
            self._remind = now + _REMIND_SECONDS
            log.record("ERROR", "storage_rejected", f"trying again, but this will not pass by itself: {error}")
        elif not (self._away or error.lasting):
            log.record("WARNING", "storage_unavailable", f"trying again until it answers: {error}")
        self._away = True

    def _end(self) -> None:
        if self._away:
            self._away = False
            log.record("INFO", "storage_available", "S3 answers again")
