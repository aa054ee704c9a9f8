"""The configured peers: their addresses, and the names that they give themselves. No I/O."""

from frota.peers.protocol.messages import Address, Message, WorkerRequest
from frota.peers.settings import Peer, join_address, parse_address


class PeerDirectory:
    """Which name belongs to which configured address. A peer that has not said its name is called by its address."""

    def __init__(self, peers: tuple[Peer, ...]) -> None:
        self.addresses = {join_address(peer.address): peer.address for peer in peers}
        self.legacy = {join_address(peer.address) for peer in peers if peer.legacy}  # by address
        self._names = {key: key for key in self.addresses}  # by address

    def name(self, key: str) -> str:
        """Return the name of the peer at an address."""
        return self._names[key]

    def rename(self, key: str, name: str) -> str:
        """Note the name of the peer at an address; return the former one if it has changed, else ""."""
        former = self._names[key]
        if not name or name == former or name in self._names.values():
            return ""
        self._names[key] = name
        return former

    def key(self, name: str) -> str:
        """Return the address of a peer by its name, or by its address itself; "" if it is not configured."""
        return name if name in self._names else next((key for key, known in self._names.items() if known == name), "")

    def owner(self, name: str) -> str:
        """Return the name of a worker's owner, which may be given by its address."""
        return self._names.get(name, name)

    def address(self, name: str) -> Address | None:
        """Return where a peer listens, None if it is not configured."""
        return self.addresses.get(self.key(name))

    def identify(self, host: str, message: Message) -> str:
        """Return the address of the configured peer that sends a message from a host; "" for another host.

        By the address that it says, else by its name, else by its host, if no other peer is there.
        """
        said = message.address if isinstance(message, WorkerRequest) else None
        if said and (key := join_address(said)) in self.addresses:
            return key
        if (server := getattr(message, "server", "")) and (key := self.key(server)):
            return key
        here = [key for key in self.addresses if parse_address(key).host == host]
        return here[0] if len(here) == 1 else ""
