"""How long, and how often, a server is asked again that does not answer."""

import asyncio
import time

from frota.core.backoff import Backoff
from frota.core.errors import ServerUnavailable

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries, doubled each time


class RetryPolicy:
    """So many seconds, from the first failure on."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._backoff = seconds, Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._since: float | None = None

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._seconds - (0 if self._since is None else time.monotonic() - self._since)

    def heard(self) -> None:
        """Begin anew: the server has answered."""
        self._since = None
        self._backoff.reset()

    async def pause(self, since: float, reason: str) -> None:
        """Wait before the next try, the server being silent since then. Raises ServerUnavailable when there is none."""
        self._since = since if self._since is None else self._since
        pause = self._backoff.pause()
        if self.left <= pause:
            raise ServerUnavailable(f"gave up after {self._seconds - self.left:.0f} s: {reason}")
        await asyncio.sleep(pause)  # backoff: no event tells that the server is back
