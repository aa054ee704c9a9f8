"""How long, and how often, a server is asked again that does not answer."""

import asyncio
import time

from frota.core.backoff import Backoff
from frota.core.errors import ServerUnavailable

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.1, 2.0  # seconds between two tries, doubled each time


class RetryPolicy:
    """So many seconds, from the first failure on."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._backoff = seconds, Backoff(MIN_BACKOFF_S, MAX_BACKOFF_S)
        self._failing_since: float | None = None

    @property
    def remaining(self) -> float:
        """Seconds that are left."""
        return self._seconds - (0 if self._failing_since is None else time.monotonic() - self._failing_since)

    def reset(self) -> None:
        """Begin anew: the server has answered."""
        self._failing_since = None
        self._backoff.reset()

    async def wait(self, failed_at: float, reason: str) -> None:
        """Wait before the next try, the server being silent since then. Raises ServerUnavailable when there is none."""
        self._failing_since = failed_at if self._failing_since is None else self._failing_since
        wait = self._backoff.pause()
        if self.remaining <= wait:
            raise ServerUnavailable(f"gave up after {self._seconds - self.remaining:.0f} s: {reason}")
        await asyncio.sleep(wait)  # backoff: no event tells that the server is back
