"""A memory limiter for images: a reservation for everybody in turn, never more than there is."""

import asyncio
from collections import deque
from typing import Self

from frota.images import messages
from frota.images.producer.submission import Kind, RefusedError


class MemoryLimiter:
    """So many bytes, for everybody in the order in which they come."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def of(self, size: int, patience: float) -> "Reservation":
        """Return what has room for so many bytes while its block runs; waits so many seconds for its turn.

        An object and no generator: each image passes here, and waiting is the exception.
        """
        return Reservation(self, size, patience)

    async def take(self, size: int, patience: float) -> None:
        """Have room for so many bytes. Raises RefusedError."""
        if not self._waiting and size <= self._left:
            self._left -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as error:
            # Also where it had none: who waits behind it may have its turn now.
            self.give_back(0 if turn.cancelled() else size)
            if isinstance(error, TimeoutError):
                raise RefusedError(Kind.AWAY, messages.BUSY) from None
            raise

    def give_back(self, size: int) -> None:
        """Let others have so many bytes."""
        self._left += size
        while self._waiting and (self._waiting[0][1].done() or self._left >= self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._left -= size
                turn.set_result(None)


class Reservation:
    """Memory that is reserved while a block runs."""

    __slots__ = ("_patience", "_room", "_size")

    def __init__(self, room: MemoryLimiter, size: int, patience: float) -> None:
        self._room, self._size, self._patience = room, size, patience

    def keep(self, size: int) -> None:
        """Go on with so many bytes, which are no more than before."""
        self._room.give_back(self._size - size)
        self._size = size

    async def __aenter__(self) -> Self:
        """Have room. Raises RefusedError where the turn does not come in time."""
        await self._room.take(self._size, self._patience)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Give the room back."""
        self._room.give_back(self._size)
