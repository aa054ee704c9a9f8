"""The send queue: answers are kept for a client that is slow to read, within bounds, and dropped beyond them."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

from frota.remote_list.server.event_log import EventLog, RequestRecord

_LARGE_BYTES = 64 * 1024  # bytes from which on an answer is not copied, and watched until it has been sent
# Bytes of large answers under way, to one client and to all, above which no further one is begun.
_MAX_LARGE_BYTES_PER_CLIENT, _MAX_LARGE_BYTES = 32 * 2**20, 256 * 2**20
_MAX_QUEUED_BYTES = 16 * 2**20  # bytes of answers that wait here, since ZeroMQ takes no more for their clients
_FIRST_RETRY_S, _MAX_RETRY_S = 0.001, 0.05  # seconds: ZeroMQ does not tell when one client of many can take more
_send = zmq.backend.Socket.send  # what Socket.send comes to, without its parameters for other kinds of sockets
_NOW, _NOW_AND_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


# Where an answer goes: the socket, the frames before it, and what is logged of the request. A plain tuple: there is one
# for each of very many requests.
ReplyTo = tuple["zmq.Socket[bytes]", list[bytes], RequestRecord | None]


class LargeInFlight(NamedTuple):
    """A large answer that ZeroMQ may not have sent yet."""

    tracker: zmq.MessageTracker
    client: bytes
    size: int


class SendQueue:
    """Sends answers; `sent` is called after every attempt made later, since sending may hide that something came."""

    def __init__(self, event_log: EventLog, sent: Callable[[], None]) -> None:
        self._event_log, self._sent = event_log, sent
        self._queues: dict[tuple[zmq.Socket[bytes], bytes], deque[tuple[list[bytes], bytes]]] = {}
        self._queued_bytes, self._pause = 0, _FIRST_RETRY_S
        self._timer: asyncio.TimerHandle | None = None
        self._large_in_flight: list[LargeInFlight] = []

    def send(self, reply_to: ReplyTo, response: bytes) -> None:
        """Send an answer, or keep it until its client reads."""
        socket, envelope, logged = reply_to
        if logged:
            self._event_log.response(logged, response)
        slow = self._queues and (socket, envelope[0]) in self._queues
        if slow or not self._try_send(socket, envelope, response):
            self._enqueue((socket, envelope[0]), envelope, response)

    def admits_large(self, reply_to: ReplyTo) -> bool:
        """Tell whether a further large answer to a client can be begun."""
        self._large_in_flight = [response for response in self._large_in_flight if not response.tracker.done]
        own = sum(response.size for response in self._large_in_flight if response.client == reply_to[1][0])
        return (
            own < _MAX_LARGE_BYTES_PER_CLIENT
            and sum(response.size for response in self._large_in_flight) < _MAX_LARGE_BYTES
        )

    def _try_send(self, socket: "zmq.Socket[bytes]", envelope: list[bytes], response: bytes) -> bool:
        """Hand an answer to ZeroMQ; False where it has too many for this client already."""
        try:
            for frame in envelope:
                _send(socket, frame, _NOW_AND_MORE)
            if len(response) < _LARGE_BYTES:
                _send(socket, response, _NOW)
            else:
                tracker = socket.send(response, _NOW, copy=False, track=True)
                self._large_in_flight.append(LargeInFlight(tracker, envelope[0], len(response)))
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._event_log.responses_dropped(1)
        return True

    def _enqueue(self, client: "tuple[zmq.Socket[bytes], bytes]", envelope: list[bytes], response: bytes) -> None:
        if self._queued_bytes + len(response) > _MAX_QUEUED_BYTES:
            self._event_log.responses_dropped(1)
            return
        if not self._queues:
            self._retry_later(_FIRST_RETRY_S)
        self._queues.setdefault(client, deque()).append((envelope, response))
        self._queued_bytes += len(response)

    async def close(self, seconds: float) -> None:
        """Hand over what is kept, for so long at most: then what a client does not read is thrown away."""
        if self._timer:
            self._timer.cancel()
        end = time.monotonic() + seconds
        while self._queues and time.monotonic() < end:
            self._flush()
            await asyncio.sleep(_FIRST_RETRY_S)
        self._queues.clear()

    def _retry_later(self, pause: float) -> None:
        self._pause = pause
        self._timer = asyncio.get_running_loop().call_later(pause, self._retry)

    def _retry(self) -> None:
        before = self._queued_bytes
        self._flush()
        if self._queues:
            self._retry_later(_FIRST_RETRY_S if self._queued_bytes < before else min(2 * self._pause, _MAX_RETRY_S))
        self._sent()

    def _flush(self) -> None:
        """Hand over as much of what is kept as ZeroMQ takes now."""
        for client, waiting in list(self._queues.items()):
            while waiting and self._try_send(client[0], *waiting[0]):
                self._queued_bytes -= len(waiting.popleft()[1])
            if not waiting:
                del self._queues[client]
