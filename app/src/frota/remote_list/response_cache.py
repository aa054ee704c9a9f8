"""The last answer to each client, so that a request that is sent again changes nothing again."""

from frota.remote_list.messages import Refused, Request


class ResponseCache:
    """Number and answer of the last change of every client; who has been silent longest is forgotten first.

    A client has one change under way at a time and numbers them upwards: its last answer is all it can ask for again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.all: dict[str, tuple[int, bytes]] = {}

    def find(self, request: Request) -> bytes | None:
        """Return the answer given before to the same id, None for a new one. Raises Refused for an older number."""
        known = self.all.get(request.client)
        if known is None or request.number > known[0]:
            return None
        if request.number < known[0]:
            raise Refused("superseded", f"Pedido {request.number} já superado: o último deste cliente é {known[0]}.")
        return known[1]

    def note(self, client: str, number: int, answer: bytes) -> tuple[int, bytes] | None:
        """Remember an answer; return the one that it takes the place of."""
        former = self.all.pop(client, None)  # put in anew, so that the order is that of the last use
        self.all[client] = (number, answer)
        return former

    def trim(self) -> None:
        """Forget those who are too many; not before what was remembered last is sure to stay."""
        while len(self.all) > self._most:
            del self.all[next(iter(self.all))]

    def take_back(self, client: str, former: tuple[int, bytes] | None) -> None:
        """Forget the newest answer to a client as if it had never been."""
        self.all.pop(client, None)
        if former:
            self.all[client] = former
