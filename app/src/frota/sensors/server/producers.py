"""Which connection belongs to a client with a producer id."""

from typing import Protocol


class Connection(Protocol):
    """What the registry needs of a connection."""

    def abort(self, reason: str) -> None:
        """Close at once, with a reason for the log."""


class ProducerRegistry:
    """The connection of each producer id: the newest, for an older one is most likely half-open."""

    def __init__(self) -> None:
        self._connections: dict[bytes, Connection] = {}

    def register(self, producer: bytes, connection: Connection) -> None:
        """Make this the producer's connection; abort the former one."""
        former = self._connections.get(producer)
        self._connections[producer] = connection
        if former:
            former.abort("replaced: the same client has connected again")

    def unregister(self, producer: bytes, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if self._connections.get(producer) is connection:
            del self._connections[producer]
