"""The response cache: the last response to each client, so that a repeated request changes nothing again."""

from frota.core.errors import RequestRejected
from frota.list.messages import Request


class ResponseCache:
    """Number and response of each client's last change; the least recently used clients are evicted.

    One response a client is enough: it has one change in flight at a time, and numbers them upwards.
    """

    def __init__(self, max_clients: int) -> None:
        self._max_clients = max_clients
        self.by_client: dict[str, tuple[int, bytes]] = {}

    def find(self, request: Request) -> bytes | None:
        """Return the cached response to a repeated request, None for a new one.

        Raises RequestRejected for a number lower than the client's last one.
        """
        cached = self.by_client.get(request.client)
        if cached is None or request.number > cached[0]:
            return None
        if request.number < cached[0]:
            raise RequestRejected(
                "superseded", f"Pedido {request.number} já superado: o último deste cliente é {cached[0]}."
            )
        return cached[1]

    def store(self, client: str, number: int, response: bytes) -> tuple[int, bytes] | None:
        """Cache a response; return the one that it replaced, for `roll_back`."""
        previous = self.by_client.pop(client, None)  # moves the client to the end: the order is that of the last use
        self.by_client[client] = (number, response)
        return previous

    def evict(self) -> None:
        """Evict clients beyond the maximum. Call it only when the newest responses are on disk."""
        while len(self.by_client) > self._max_clients:
            del self.by_client[next(iter(self.by_client))]

    def roll_back(self, client: str, previous: tuple[int, bytes] | None) -> None:
        """Remove the newest response to a client and restore the previous one."""
        self.by_client.pop(client, None)
        if previous:
            self.by_client[client] = previous
