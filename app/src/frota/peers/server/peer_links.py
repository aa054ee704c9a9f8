"""The connection to one peer: requests, one at a time, each with its reply or none.

There is no loop that reconnects: heartbeats do, as often as `liveness` wants them.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from frota.peers import outgoing
from frota.peers.outgoing import Outgoing
from frota.peers.protocol.calling_sides import PeerSide
from frota.peers.protocol.codec.dialects import Dialect, Misuse
from frota.peers.protocol.messages import Message, Refusal, ReleaseCompleted
from frota.peers.security import Security
from frota.peers.settings import Peer, join_address

Answered = Callable[[Message | None], None]
_MAX_WAITING = 20_000  # requests: a renewal for each borrowed worker, several times


class PeerLink:
    """A configured peer. `dialect` is A once it has turned out to be a legacy one."""

    def __init__(self, peer: Peer, security: Security, timeout_s: float, max_bytes: int) -> None:
        self._peer, self._security = peer, security
        self.address, self.dialect, self.key = peer.address, peer.dialect, join_address(peer.address)
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._waiting: deque[tuple[Message, Answered]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._connection: Outgoing | None = None
        self._reply: asyncio.Future[Message] | None = None
        self.error = ""  # of the last attempt

    def request(self, message: Message, answered: Answered) -> None:
        """Send a request in its turn; then call answered(the reply, or None)."""
        if len(self._waiting) >= _MAX_WAITING:
            answered(None)
            return
        self._waiting.append((message, answered))
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Close the connection; requests that wait get no answer."""
        if self._running:
            self._running.cancel()
        self._disconnect()

    async def _run(self) -> None:
        try:
            while self._waiting:
                message, answered = self._waiting.popleft()
                reply = await self._exchange(message)
                answered(reply)
                if reply is None and not self._connection:
                    self._fail_waiting()
        finally:
            self._running = None

    def _fail_waiting(self) -> None:
        """Give up what waits for a peer that cannot be reached."""
        waiting, self._waiting = self._waiting, deque()
        for _, answered in waiting:
            answered(None)

    async def _exchange(self, message: Message) -> Message | None:
        try:
            reply = await self._reply_to(message)
        except (OSError, TimeoutError, Misuse) as error:
            self.error = str(error) or f"no answer within {self._timeout_s:g} s"
            if not isinstance(error, Misuse):
                self._disconnect()
            return None
        self.error = reply.reason if isinstance(reply, Refusal) else ""
        if self.dialect is Dialect.C:
            self._disconnect()
        return reply

    async def _reply_to(self, message: Message) -> Message | None:
        if self._connection is None:
            side = PeerSide(self.dialect, max_bytes=self._max_bytes)
            context = None if self._peer.legacy else self._security.client
            self._connection = await outgoing.connect(
                self.address, side, self._received, self._lost, timeout_s=self._timeout_s, context=context
            )
        self._reply = asyncio.get_running_loop().create_future()
        self._connection.send(message)
        if isinstance(message, ReleaseCompleted):
            return None
        async with asyncio.timeout(self._timeout_s):
            return await self._reply

    def _received(self, message: Message) -> None:
        if self._connection and isinstance(self._connection.side, PeerSide):
            self.dialect = self._connection.side.dialect
        if self._reply and not self._reply.done():
            self._reply.set_result(message)

    def _lost(self, reason: str) -> None:
        self._connection = None
        if self._reply and not self._reply.done():
            self._reply.set_exception(ConnectionError(reason))

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
