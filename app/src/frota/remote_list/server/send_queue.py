"""The send queue: answers are kept for a client that is slow to read, within bounds, and dropped beyond them."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

from frota.remote_list.server.event_log import EventLog, Note

_LARGE = 64 * 1024  # bytes from which on an answer is not copied, and watched until it has been sent
# Bytes of large answers under way, to one client and to all, above which no further one is begun.
_MOST_LARGE_OF_ONE, _MOST_LARGE = 32 * 2**20, 256 * 2**20
_MOST_KEPT = 16 * 2**20  # bytes of answers that wait here, since ZeroMQ takes no more for their clients
_FIRST_RETRY, _LAST_RETRY = 0.001, 0.05  # seconds: ZeroMQ does not tell when one client of many can take more
_send = zmq.backend.Socket.send  # what Socket.send comes to, without its parameters for other kinds of sockets
_NOW, _NOW_AND_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


# Where an answer goes: the socket, the frames before it, and what is logged of the request. A plain tuple: there is one
# for each of very many requests.
Token = tuple["zmq.Socket[bytes]", list[bytes], Note | None]


class Large(NamedTuple):
    """A large answer that ZeroMQ may not have sent yet."""

    tracker: zmq.MessageTracker
    client: bytes
    size: int


class SendQueue:
    """Sends answers; `sent` is called after every attempt made later, since sending may hide that something came."""

    def __init__(self, event_log: EventLog, sent: Callable[[], None]) -> None:
        self._event_log, self._sent = event_log, sent
        self._kept: dict[tuple[zmq.Socket[bytes], bytes], deque[tuple[list[bytes], bytes]]] = {}
        self._size, self._pause = 0, _FIRST_RETRY
        self._timer: asyncio.TimerHandle | None = None
        self._large: list[Large] = []

    def send(self, token: Token, answer: bytes) -> None:
        """Send an answer, or keep it until its client reads."""
        socket, envelope, note = token
        if note:
            self._event_log.answer(note, answer)
        slow = self._kept and (socket, envelope[0]) in self._kept
        if slow or not self._took(socket, envelope, answer):
            self._keep((socket, envelope[0]), envelope, answer)

    def room_for_large(self, token: Token) -> bool:
        """Tell whether a further large answer to a client can be begun."""
        self._large = [one for one in self._large if not one.tracker.done]
        own = sum(one.size for one in self._large if one.client == token[1][0])
        return own < _MOST_LARGE_OF_ONE and sum(one.size for one in self._large) < _MOST_LARGE

    def _took(self, socket: "zmq.Socket[bytes]", envelope: list[bytes], answer: bytes) -> bool:
        """Hand an answer to ZeroMQ; False where it has too many for this client already."""
        try:
            for frame in envelope:
                _send(socket, frame, _NOW_AND_MORE)
            if len(answer) < _LARGE:
                _send(socket, answer, _NOW)
            else:
                tracker = socket.send(answer, _NOW, copy=False, track=True)
                self._large.append(Large(tracker, envelope[0], len(answer)))
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._event_log.unread(1)
        return True

    def _keep(self, client: "tuple[zmq.Socket[bytes], bytes]", envelope: list[bytes], answer: bytes) -> None:
        if self._size + len(answer) > _MOST_KEPT:
            self._event_log.unread(1)
            return
        if not self._kept:
            self._retry_later(_FIRST_RETRY)
        self._kept.setdefault(client, deque()).append((envelope, answer))
        self._size += len(answer)

    async def close(self, seconds: float) -> None:
        """Hand over what is kept, for so long at most: then what a client does not read is thrown away."""
        if self._timer:
            self._timer.cancel()
        end = time.monotonic() + seconds
        while self._kept and time.monotonic() < end:
            self._offer()
            await asyncio.sleep(_FIRST_RETRY)
        self._kept.clear()

    def _retry_later(self, pause: float) -> None:
        self._pause = pause
        self._timer = asyncio.get_running_loop().call_later(pause, self._retry)

    def _retry(self) -> None:
        before = self._size
        self._offer()
        if self._kept:
            self._retry_later(_FIRST_RETRY if self._size < before else min(2 * self._pause, _LAST_RETRY))
        self._sent()

    def _offer(self) -> None:
        """Hand over as much of what is kept as ZeroMQ takes now."""
        for client, waiting in list(self._kept.items()):
            while waiting and self._took(client[0], *waiting[0]):
                self._size -= len(waiting.popleft()[1])
            if not waiting:
                del self._kept[client]
