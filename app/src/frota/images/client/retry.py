"""Retries with backoff while a server does not answer, up to a time limit."""

import asyncio
import time

from frota.core.backoff import Backoff
from frota.core.errors import ServerUnavailable

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.1, 2.0  # between two attempts, doubled each time


class RetryPolicy:
    """Backoff between attempts; gives up `seconds` after the first failure since the last success."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._backoff = seconds, Backoff(MIN_BACKOFF_S, MAX_BACKOFF_S)
        self._failing_since: float | None = None

    @property
    def remaining(self) -> float:
        """Seconds until it gives up."""
        return self._seconds - (0 if self._failing_since is None else time.monotonic() - self._failing_since)

    def reset(self) -> None:
        """Restart from the first pause, after a response."""
        self._failing_since = None
        self._backoff.reset()

    async def wait(self, failed_at: float, reason: str) -> None:
        """Wait before the next attempt; `failed_at` is a monotonic time. Raises ServerUnavailable when time is up."""
        self._failing_since = failed_at if self._failing_since is None else self._failing_since
        delay = self._backoff.pause()
        if self.remaining <= delay:
            raise ServerUnavailable(f"gave up after {self._seconds - self.remaining:.0f} s: {reason}")
        await asyncio.sleep(delay)  # backoff: no event tells that the server is back
