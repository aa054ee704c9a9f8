"""A limit of what all connections together buffer: incomplete messages, and input that waits."""

from typing import Protocol


class Holder(Protocol):
    """A connection that buffers input."""

    def evict(self) -> None:
        """Free the buffer, and end the connection."""


class BufferLimit:
    """Evicts the connection that buffers most when all together buffer more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.buffered_bytes = self.evicted_total = 0
        self._sizes: dict[Holder, int] = {}  # those above 0

    def update(self, holder: Holder, size: int) -> None:
        """Note how many bytes a connection buffers."""
        self.buffered_bytes += size - self._sizes.pop(holder, 0)
        if size:
            self._sizes[holder] = size
            while self.buffered_bytes > self.max_bytes:
                self._evict(max(self._sizes, key=self._sizes.__getitem__))

    def _evict(self, holder: Holder) -> None:
        self.evicted_total += 1
        self.buffered_bytes -= self._sizes.pop(holder)
        holder.evict()
