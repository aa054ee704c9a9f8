"""The mechanics of a connection: writing safely, reading only when there is room, ending so that the reason arrives."""

import asyncio
from typing import cast

from frota.net.addresses import plain

LINGER_SECONDS = 2.0  # how long a peer has to read why we ended
# Why nothing is read from a connection at the moment.
UNREAD, BACKLOG, HELLO = 1, 2, 4


class Peer(asyncio.Protocol):
    """One end of a connection. `now` is the time, in the loop's seconds, as coarse as the server's sweep."""

    def __init__(self) -> None:
        self.address: tuple[str, int] = ("?", 0)
        self.closed = False  # nothing more is taken in
        self.ended = False  # the peer sends nothing more
        self.unread_since: float | None = None  # since when the peer does not read what we write
        self._transport: asyncio.Transport | None = None
        self._finished: asyncio.Transport | None = None  # the transport, once our side has ended
        self._finished_at = 0.0
        self._paused = 0
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def now(self) -> float:
        """Return the time."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who it is."""
        self._transport = cast("asyncio.Transport", transport)
        host, port = (transport.get_extra_info("peername") or self.address)[:2]
        self.address = (plain(host), port)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Write nothing any more."""
        self._transport = self._finished = None
        self.closed = True

    def pause_writing(self) -> None:
        """Read nothing more from a peer that does not read its answers."""
        self.unread_since = self.now
        self._writable.clear()
        self.pause(UNREAD)

    def resume_writing(self) -> None:
        """Go on: the peer reads again."""
        self.unread_since = None
        self._writable.set()
        self.resume(UNREAD)

    @property
    def paused(self) -> bool:
        """Tell whether there is a reason to read nothing."""
        return self._paused != 0

    def pause(self, reason: int) -> None:
        """Read nothing more until every reason not to is gone."""
        if not self._paused and self._transport and not self._transport.is_closing():
            self._transport.pause_reading()
        self._paused |= reason

    def resume(self, reason: int) -> None:
        """Take one reason away."""
        if self._paused == reason and self._transport and not self._transport.is_closing():
            self._transport.resume_reading()
        self._paused &= ~reason

    def write(self, data: bytes) -> None:
        """Send, if there is still somebody to send to."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    async def send(self, data: bytes) -> None:
        """Send, and wait while the peer does not read."""
        self.write(data)
        await self._writable.wait()

    def finish(self) -> None:
        """End our side and give the peer time to read why: closing at once would reset the connection instead.

        Not so if the peer has ended before: what it sent is all here, and it may not be heard of again.
        """
        self.closed = True
        if self._transport and not self._transport.is_closing():
            self._transport.write_eof()
            self._finished, self._transport = self._transport, None
            self._finished_at = self.now
            if self.ended:
                self._finished.close()

    @property
    def lingers(self) -> bool:
        """Tell whether the peer has had its time and still is there."""
        return self._finished is not None and self.now - self._finished_at > LINGER_SECONDS

    def close(self) -> None:
        """Close behind what is still to be sent."""
        if transport := self._transport or self._finished:
            transport.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.closed = True  # what it has sent already must not be taken in behind this
        if transport := self._transport or self._finished:
            transport.abort()
