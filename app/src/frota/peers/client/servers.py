"""The status of a server and of its peers, each asked on a connection of its own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from frota.core.errors import StateError
from frota.peers.client.connection import PeersClient
from frota.peers.client_settings import ClientSettings
from frota.peers.protocol.codec.dialects import Dialect
from frota.peers.protocol.requests import GetStatus, Status

_OF_PEERS = ("queue", "workers")  # what the status tells of each peer


class Servers:
    """A server and the peers that it names."""

    def __init__(self, config: ClientSettings) -> None:
        """Read the certificates. Raises StateError, SettingsError."""
        self._config = config
        self._server = PeersClient(config)
        self._peers: dict[str, PeersClient] = {}  # by address

    def close(self) -> None:
        """Close all connections."""
        for client in (self._server, *self._peers.values()):
            client.close()

    def status(self) -> dict[str, Any]:
        """Return the server's status, to which each responding native peer's queue and workers are added.

        Raises ServerUnavailable, WrongServer and RequestRejected for the server itself; a peer's are its `error`.
        """
        fields = dict(_status(self._server))
        fields["peers"] = [self._with_status(peer) for peer in fields.get("peers") or ()]
        return fields

    def _with_status(self, peer: Mapping[str, Any]) -> dict[str, Any]:
        if not peer.get("up") or peer.get("dialect") != Dialect.NATIVE.value:
            return dict(peer)
        try:
            asked = _status(self._client(str(peer["address"])))
        except (OSError, StateError) as error:
            return {**peer, "error": str(error)}
        return {**peer, **{part: asked.get(part) or {} for part in _OF_PEERS}}

    def _client(self, address: str) -> PeersClient:
        if address not in self._peers:
            self._peers[address] = PeersClient(dataclasses.replace(self._config, host=address))
        return self._peers[address]


def _status(client: PeersClient) -> Mapping[str, Any]:
    return client.ask(GetStatus(client.next_id()), Status).status
