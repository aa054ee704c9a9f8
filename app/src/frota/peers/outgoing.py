"""A connection to a server, over TCP or a WebSocket: of a worker, or of a server that asks its peer."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Protocol, cast

from websockets.exceptions import InvalidHandshake

from frota.net import tls
from frota.peers.protocol import websocket
from frota.peers.protocol.messages import Address, Message
from frota.peers.protocol.server_side import Event, Rejected
from frota.peers.protocol.websocket import WebSocket
from frota.peers.security import refuse_server

_SHUTDOWN_S = 2.0  # for the peer's end of TLS
_MAX_FRAMED = 64  # bytes by which WebSocket frames may exceed their message


class Side(Protocol):
    """A calling side of the protocol, see `calling_sides`."""

    def send(self, message: Any) -> bytes:
        """Return what is to be sent."""

    def receive(self, data: bytes) -> list[Event]:
        """Process bytes of TCP."""

    def receive_text(self, text: str | bytes) -> list[Event]:
        """Process a message of a WebSocket."""


class Outgoing(asyncio.Protocol):
    """The connection. `received` gets each message, and `lost` the reason of the end, once."""

    def __init__(
        self,
        side: Side,
        received: Callable[[Message], None],
        lost: Callable[[str], None],
        socket: WebSocket | None = None,
    ) -> None:
        self.side, self._received, self._lost = side, received, lost
        self._socket = socket
        self._transport: asyncio.Transport | None = None
        self._reason = "the server closed the connection"
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def local_host(self) -> str:
        """The address of this end."""
        return str(self._transport.get_extra_info("sockname")[0]) if self._transport else ""

    def send(self, message: Message) -> None:
        """Send. Raises Misuse."""
        data = self.side.send(message)
        if self._transport is None or self._transport.is_closing():
            return
        if self._socket is None:
            self._transport.write(data)
        else:
            self._socket.send(data)
            self._flush(self._socket)

    def close(self) -> None:
        """Send what is written, then close; `lost` is not called."""
        self._lost = _ignore
        if self._transport:
            if self._socket and self._socket.open:
                self._socket.close()
                self._flush(self._socket)
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check whose certificate it is, and begin the handshake of a WebSocket."""
        self._transport = cast("asyncio.Transport", transport)
        certificate = transport.get_extra_info("peercert")  # None in clear text
        if certificate is not None and (reason := refuse_server(tls.common_name(certificate))):
            self._fail(reason)
        elif self._socket:
            self._flush(self._socket)
        else:
            self.ready.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Process input."""
        if self._socket is None:
            self._handle(self.side.receive(data))
            return
        try:
            texts = self._socket.receive(data)
        except InvalidHandshake as error:
            self._fail(f"no WebSocket: {error}")
            return
        if self._socket.open and not self.ready.done():
            self.ready.set_result(None)
        for text in texts:
            self._handle(self.side.receive_text(text))
        self._flush(self._socket)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self._transport = None
        if exc:
            self._reason = tls.explain(exc)
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(self._reason))
            return
        lost, self._lost = self._lost, _ignore
        lost(self._reason)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Rejected):
                self._fail(f"the server sends what does not fit: {event.reason}")
                return
            self._received(event)

    def _fail(self, reason: str) -> None:
        self._reason = reason
        if self._transport:
            self._transport.abort()

    def _flush(self, socket: WebSocket) -> None:
        if self._transport and (data := socket.outgoing()):
            self._transport.write(data)


async def connect(  # noqa: PLR0913 -- each is needed, and named
    address: Address,
    side: Side,
    received: Callable[[Message], None],
    lost: Callable[[str], None],
    *,
    timeout_s: float,
    max_bytes: int = 0,
    context: ssl.SSLContext | None = None,
) -> Outgoing:
    """Connect, with `max_bytes` of a message over a WebSocket, without over TCP; in clear text without `context`.

    With it, the server must have the certificate of a peers' server for this address. Raises OSError.
    """
    socket = websocket.client_side(*address, max_bytes + _MAX_FRAMED) if max_bytes else None
    loop = asyncio.get_running_loop()
    outgoing = Outgoing(side, received, lost, socket)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(
                lambda: outgoing, *address, ssl=context, ssl_shutdown_timeout=_SHUTDOWN_S if context else None
            )
            await outgoing.ready
    except BaseException as error:
        outgoing.close()
        if isinstance(error, TimeoutError | UnicodeError):
            raise ConnectionError(f"no answer within {timeout_s:g} s") from None
        if isinstance(error, ssl.SSLError):
            raise ConnectionError(tls.explain(error)) from None
        raise
    return outgoing


def _ignore(_reason: str) -> None:
    pass
