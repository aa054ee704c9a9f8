"""The send queue: holds responses for clients that read slowly, up to a limit, and discards those beyond it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

from frota.list.server.event_log import EventLog, RequestRecord

_LARGE_BYTES = 64 * 1024  # larger responses are not copied, and tracked until they are sent
# Large responses in flight, to one client and to all, above which no further one is made.
_MAX_LARGE_BYTES_PER_CLIENT, _MAX_LARGE_BYTES = 32 * 2**20, 256 * 2**20
_MAX_QUEUED_BYTES = 16 * 2**20  # above it, responses are discarded
_FIRST_RETRY_S, _MAX_RETRY_S = 0.001, 0.05  # ZeroMQ does not signal when a single client can take more
_send = zmq.backend.Socket.send  # Socket.send without its overhead
_NOW, _NOW_AND_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


# Where a response goes: the socket, the envelope, and the record of a logged request. A plain tuple, for speed: every
# request has one.
ReplyTo = tuple["zmq.Socket[bytes]", list[bytes], RequestRecord | None]


class LargeInFlight(NamedTuple):
    """A large response that ZeroMQ may not have sent yet."""

    tracker: zmq.MessageTracker
    client: bytes
    size: int


class SendQueue:
    """Sends responses; `sent` is called after every retry, since sending may clear a socket's read event."""

    def __init__(self, event_log: EventLog, sent: Callable[[], None]) -> None:
        self._event_log, self._sent = event_log, sent
        self._queues: dict[tuple[zmq.Socket[bytes], bytes], deque[tuple[list[bytes], bytes]]] = {}
        self._queued_bytes, self._pause = 0, _FIRST_RETRY_S
        self._timer: asyncio.TimerHandle | None = None
        self._large_in_flight: list[LargeInFlight] = []

    @property
    def queued_bytes(self) -> int:
        """The size of the responses that wait."""
        return self._queued_bytes

    def send(self, reply_to: ReplyTo, response: bytes) -> None:
        """Send a response, or queue it until its client reads."""
        socket, envelope, logged = reply_to
        if logged:
            self._event_log.response(logged, response)
        slow = self._queues and (socket, envelope[0]) in self._queues
        if slow or not self._try_send(socket, envelope, response):
            self._enqueue((socket, envelope[0]), envelope, response)

    def admits_large(self, reply_to: ReplyTo) -> bool:
        """Tell whether a large response to a client may be made now."""
        self._large_in_flight = [response for response in self._large_in_flight if not response.tracker.done]
        own = sum(response.size for response in self._large_in_flight if response.client == reply_to[1][0])
        total = sum(response.size for response in self._large_in_flight)
        return own < _MAX_LARGE_BYTES_PER_CLIENT and total < _MAX_LARGE_BYTES

    def _try_send(self, socket: "zmq.Socket[bytes]", envelope: list[bytes], response: bytes) -> bool:
        """Pass a response to ZeroMQ; False if its queue for this client is full."""
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
        """Flush the queues within a timeout; discard what clients do not read."""
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
        """Pass as much to ZeroMQ as it takes now."""
        for client, waiting in list(self._queues.items()):
            while waiting and self._try_send(client[0], *waiting[0]):
                self._queued_bytes -= len(waiting.popleft()[1])
            if not waiting:
                del self._queues[client]
