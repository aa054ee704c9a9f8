"""The peers' servers and their workers: own, lent and borrowed."""

import asyncio
from collections.abc import Mapping
from typing import Any

from frota.core.errors import StateError
from frota.net.arguments import ENV_FILES
from frota.observer.dashboard.sources.clients import peers_settings
from frota.observer.dashboard.sources.poller import EXPECTED, Thread
from frota.observer.settings import Endpoint
from frota.peers.client.connection import PeersClient
from frota.peers.protocol.requests import GetStatus, Status

_COUNTS = ("own", "own_here", "idle", "busy", "lent", "absent", "borrowed", "promised")
_MAX_PEERS, _MAX_TEXT_CHARACTERS = 100, 200


class Peers:
    """The source of the topic `peers`: the status of each server, or why it has none."""

    name, topic = "peers", "peers"
    interval_s = 0.5

    def __init__(self, servers: tuple[Endpoint, ...]) -> None:
        self._servers = {server: _Server(server) for server in servers}
        self._latest: list[dict[str, Any]] | None = None

    async def poll(self) -> list[dict[str, Any]] | None:
        """Query all servers; return them if something has changed. Raises StateError if none answers."""
        servers = await asyncio.gather(*(server.status() for server in self._servers.values()))
        if all("error" in server for server in servers):
            self._latest = servers
            raise StateError(str(servers[0]["error"]))
        changed = servers != self._latest
        self._latest = servers
        return servers if changed else None

    def latest(self) -> list[dict[str, Any]] | None:
        """Return all servers."""
        return self._latest


class _Server:
    def __init__(self, server: Endpoint) -> None:
        self._server, self._thread = server, Thread(f"peers {server}")
        self._client: PeersClient | None = None

    async def status(self) -> dict[str, Any]:
        try:
            return await self._thread.run(self._query)
        except EXPECTED as error:
            return {"address": str(self._server), "error": str(error)[:_MAX_TEXT_CHARACTERS]}

    def _query(self) -> dict[str, Any]:
        if self._client is None:
            self._client = PeersClient(peers_settings(self._server, ENV_FILES))
        reply = self._client.ask(GetStatus(self._client.next_id()), Status)
        return {"address": str(self._server), **_shown(reply.status)}


def _shown(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of a status; every value is checked."""
    queue, tasks, workers = (_part(status, name) for name in ("queue", "tasks", "workers"))
    peers = status.get("peers")
    return {
        "server": _text(status.get("server")),
        "durable": status.get("durable") is not False,
        "queue": {name: _count(queue, name) for name in ("waiting", "leased", "dead", "wait_ms")},
        "saturated": queue.get("saturated") is True,
        "tasks": {name: _count(tasks, name) for name in ("submitted", "done")},
        "workers": {name: _count(workers, name) for name in _COUNTS},
        "peers": [_peer(peer) for peer in (peers[:_MAX_PEERS] if isinstance(peers, list) else ())],
    }


def _peer(peer: object) -> dict[str, Any]:
    fields = peer if isinstance(peer, Mapping) else {}
    return {
        "server": _text(fields.get("server")),
        "address": _text(fields.get("address")),
        "up": fields.get("up") is True,
    }


def _part(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = status.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int and 0 <= value < 2**53 else 0


def _text(value: object) -> str:
    return value[:_MAX_TEXT_CHARACTERS] if isinstance(value, str) else ""
