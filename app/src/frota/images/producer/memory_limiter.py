"""A memory limiter for images: a reservation for everybody in turn, never more than there is."""

import asyncio
from collections import deque
from typing import Self

from frota.images import messages
from frota.images.producer.submission import RejectionKind, SubmissionRejected


class MemoryLimiter:
    """So many bytes, for everybody in the order in which they come."""

    def __init__(self, size: int) -> None:
        self._available = size
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    def reserve(self, size: int, timeout_s: float) -> "Reservation":
        """Return what has room for so many bytes while its block runs; waits so many seconds for its turn.

        An object and no generator: each image passes here, and waiting is the exception.
        """
        return Reservation(self, size, timeout_s)

    async def acquire(self, size: int, timeout_s: float) -> None:
        """Have room for so many bytes. Raises SubmissionRejected."""
        if not self._waiters and size <= self._available:
            self._available -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, turn))
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            # Also where it had none: who waits behind it may have its turn now.
            self.release(0 if turn.cancelled() else size)
            if isinstance(error, TimeoutError):
                raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.BUSY) from None
            raise

    def release(self, size: int) -> None:
        """Let others have so many bytes."""
        self._available += size
        while self._waiters and (self._waiters[0][1].done() or self._available >= self._waiters[0][0]):
            size, turn = self._waiters.popleft()
            if not turn.done():
                self._available -= size
                turn.set_result(None)


class Reservation:
    """Memory that is reserved while a block runs."""

    __slots__ = ("_limiter", "_size", "_timeout_s")

    def __init__(self, limiter: MemoryLimiter, size: int, timeout_s: float) -> None:
        self._limiter, self._size, self._timeout_s = limiter, size, timeout_s

    def shrink(self, size: int) -> None:
        """Go on with so many bytes, which are no more than before."""
        self._limiter.release(self._size - size)
        self._size = size

    async def __aenter__(self) -> Self:
        """Have room. Raises SubmissionRejected where the turn does not come in time."""
        await self._limiter.acquire(self._size, self._timeout_s)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Give the room back."""
        self._limiter.release(self._size)
