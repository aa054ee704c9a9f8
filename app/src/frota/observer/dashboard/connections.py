"""The HTTP server: uvicorn with sockets, signals and time limits of ours."""

import asyncio
import contextlib
from collections.abc import Iterator
from socket import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_FIRST_REQUEST_S = 10.0  # until the first request has arrived
_MAX_HEADER_BYTES = 16 << 10
_KEEP_ALIVE_S = 15
_STOP_S = 2
_FURTHER_CONNECTIONS = 200  # beside those of viewers


class Connections:
    """The transports of all connections by the address of their client."""

    def __init__(self) -> None:
        self._transports: dict[Any, asyncio.Transport] = {}

    def __len__(self) -> int:
        return len(self._transports)

    def add(self, transport: asyncio.Transport) -> None:
        """Note a new connection."""
        self._transports[transport.get_extra_info("peername")] = transport

    def remove(self, transport: asyncio.Transport | None) -> None:
        """Forget a connection."""
        for client, known in list(self._transports.items()):
            if known is transport:
                del self._transports[client]

    def abort(self, client: Any) -> None:
        """End a connection at once: its client does not read."""
        if transport := self._transports.get(client):
            transport.abort()


def protocol(connections: Connections) -> type[H11Protocol]:
    """Return the protocol of connections that are noted, and end unless a request arrives in time."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(transport)
            connections.add(transport)
            self._timer = asyncio.get_running_loop().call_later(_FIRST_REQUEST_S, self._close_if_silent)

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()
            connections.remove(self.transport)
            super().connection_lost(exc)

        def _close_if_silent(self) -> None:
            if self.cycle is None:
                self.transport.abort()

    return Protocol


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: the service has its own."""

    def __init__(self, app: Any, connections: Connections, viewers: int) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=protocol(connections), ws="none", lifespan="off", loop="none", log_config=None,
                access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_STOP_S, h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
                limit_concurrency=viewers + _FURTHER_CONNECTIONS,
            )
        )  # fmt: skip
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        self.ready.set()
