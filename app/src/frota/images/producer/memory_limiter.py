"""A memory limiter for images: reservations in order of arrival, never more than the limit."""

import asyncio
from collections import deque
from typing import Self

from frota.images import messages
from frota.images.producer.submission import RejectionKind, SubmissionRejected


class MemoryLimiter:
    """Reserves up to `size` bytes, first come, first served."""

    def __init__(self, size: int) -> None:
        self.size = self._available = size
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def reserved(self) -> int:
        """The bytes that are reserved."""
        return self.size - self._available

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a reservation."""
        return len(self._waiters)

    def reserve(self, size: int, timeout_s: float) -> "Reservation":
        """Return a context manager that reserves `size` bytes, and waits at most `timeout_s` for them.

        An object is faster than a generator, and every image passes here.
        """
        return Reservation(self, size, timeout_s)

    async def acquire(self, size: int, timeout_s: float) -> None:
        """Reserve `size` bytes. Raises SubmissionRejected after the timeout."""
        if not self._waiters and size <= self._available:
            self._available -= size
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, granted))
        try:
            async with asyncio.timeout(timeout_s):
                await granted
        except BaseException as error:
            # Also without a reservation: the next waiter may fit now.
            self.release(0 if granted.cancelled() else size)
            if isinstance(error, TimeoutError):
                raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.BUSY) from None
            raise

    def release(self, size: int) -> None:
        """Release `size` bytes to the waiters."""
        self._available += size
        while self._waiters and (self._waiters[0][1].done() or self._available >= self._waiters[0][0]):
            size, granted = self._waiters.popleft()
            if not granted.done():
                self._available -= size
                granted.set_result(None)


class Reservation:
    """Memory that is reserved inside a `with` block."""

    __slots__ = ("_limiter", "_size", "_timeout_s")

    def __init__(self, limiter: MemoryLimiter, size: int, timeout_s: float) -> None:
        self._limiter, self._size, self._timeout_s = limiter, size, timeout_s

    def shrink(self, size: int) -> None:
        """Reduce the reservation to `size` bytes."""
        self._limiter.release(self._size - size)
        self._size = size

    async def __aenter__(self) -> Self:
        """Reserve the memory. Raises SubmissionRejected after the timeout."""
        await self._limiter.acquire(self._size, self._timeout_s)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Release the memory."""
        self._limiter.release(self._size)
