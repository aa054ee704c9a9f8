"""Trying again while S3 is away: nothing is lost by it, since the broker keeps what is not acknowledged."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from frota.core import log
from frota.images.objects import MissingError, StorageError

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds, doubled each time


class Outage:
    """Says once that S3 is away, and once that it is back, however many wait for it."""

    def __init__(self) -> None:
        self._away = False

    async def retry(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request until it is answered; pauses grow, with jitter. Raises MissingError."""
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = await request()
            except MissingError:
                raise
            except StorageError as error:
                self._begin(error)
            else:
                self._end()
                return answer
            await asyncio.sleep(random.uniform(0.5, 1) * pause)  # the back-off itself
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _begin(self, error: StorageError) -> None:
        if not self._away:
            self._away = True
            log.record("WARNING", "storage_away", f"trying again until it answers: {error}")

    def _end(self) -> None:
        if self._away:
            self._away = False
            log.record("INFO", "storage_back", "S3 answers again")
