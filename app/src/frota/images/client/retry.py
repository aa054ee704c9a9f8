"""How long, and how often, a server is asked again that does not answer."""

import asyncio
import random
import time

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries, doubled each time


class Unreachable(ConnectionError):
    """No answer came within the time: says what is wrong."""


class Patience:
    """So many seconds, from the first failure on."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._tries = seconds, 0
        self._since: float | None = None

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._seconds - (0 if self._since is None else time.monotonic() - self._since)

    def heard(self) -> None:
        """Begin anew: the server has answered."""
        self._since, self._tries = None, 0

    async def pause(self, since: float, reason: str) -> None:
        """Wait before the next try, the server being silent since then. Raises Unreachable when there is none."""
        self._since = since if self._since is None else self._since
        self._tries += 1
        pause = random.uniform(0.5, 1) * min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._tries, 10))
        if self.left <= pause:
            raise Unreachable(f"gave up after {self._seconds - self.left:.0f} s: {reason}")
        await asyncio.sleep(pause)  # the back-off itself: nothing tells when a server will be there again
