"""The last answer to each client, so that a request that is sent again changes nothing again."""

from frota.remote_list.messages import Request, RequestRejected


class ResponseCache:
    """Number and answer of the last change of every client; who has been silent longest is forgotten first.

    A client has one change under way at a time and numbers them upwards: its last answer is all it can ask for again.
    """

    def __init__(self, max_clients: int) -> None:
        self._max_clients = max_clients
        self.by_client: dict[str, tuple[int, bytes]] = {}

    def find(self, request: Request) -> bytes | None:
        """Return the answer given before to the same id, None for a new one. Raises Refused for an older number."""
        known = self.by_client.get(request.client)
        if known is None or request.number > known[0]:
            return None
        if request.number < known[0]:
            raise RequestRejected(
                "superseded", f"Pedido {request.number} já superado: o último deste cliente é {known[0]}."
            )
        return known[1]

    def store(self, client: str, number: int, response: bytes) -> tuple[int, bytes] | None:
        """Remember an answer; return the one that it takes the place of."""
        previous = self.by_client.pop(client, None)  # put in anew, so that the order is that of the last use
        self.by_client[client] = (number, response)
        return previous

    def evict(self) -> None:
        """Forget those who are too many; not before what was remembered last is sure to stay."""
        while len(self.by_client) > self._max_clients:
            del self.by_client[next(iter(self.by_client))]

    def roll_back(self, client: str, previous: tuple[int, bytes] | None) -> None:
        """Forget the newest answer to a client as if it had never been."""
        self.by_client.pop(client, None)
        if previous:
            self.by_client[client] = previous
