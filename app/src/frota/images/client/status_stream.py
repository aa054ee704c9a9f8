"""Follows the status of images over one server stream, reopened for added images and after interruptions."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc.aio

from frota.images.client import rpc
from frota.images.client.client import MAX_IDS, Client
from frota.images.client.retry import RetryPolicy
from frota.images.proto import images_pb2 as native

_MIN_STREAM_S_PER_IMAGE = 0.002
FINAL = (native.DONE, native.DEAD)


@dataclass(frozen=True)
class StreamTimes:
    """The times of a stream, in seconds."""

    first_status: float = 20.0  # timeout: the server sends the current statuses at once
    longest: float = 30.0  # then it is reopened: its connection may be half-open
    shortest: float = 0.5  # each new stream repeats every current status, so it is not reopened more often
    unknown_retry: float = 1.0  # before unknown images are queried again


_TIMES = StreamTimes()


@dataclass
class _Subscription:
    state: int = -1  # no status yet
    unknown_since: float | None = None


class StatusStream:
    """Follows images until each is done, dead, or unknown for longer than `unknown_seconds`.

    `changed` is called with every new state, and once with `UNKNOWN` for an image that stayed unknown.
    """

    def __init__(
        self,
        client: Client,
        changed: Callable[[native.Status], None],
        unknown_seconds: float | None = None,
        times: StreamTimes = _TIMES,
    ) -> None:
        self._client, self._changed, self._times = client, changed, times
        self._unknown_seconds = client.access.timeout if unknown_seconds is None else unknown_seconds
        self._open: dict[str, _Subscription] = {}
        self._in_stream = 0
        self._restart = asyncio.Event()
        self._complete = False

    def add(self, ids: Iterable[str]) -> None:
        """Follow these images, too."""
        self._open.update((image_id, _Subscription()) for image_id in ids)
        self._restart.set()

    def complete(self) -> None:
        """Declare that no more images will be added."""
        self._complete = True
        if not self._open:
            self._restart.set()

    async def run(self) -> None:
        """Follow all images to their end.

        Raises UnsupportedByServer, ServerUnavailable, WrongServer, RequestRejected.
        """
        retries = RetryPolicy(self._client.access.timeout)
        while self._open or not self._complete:
            self._restart.clear()
            if not self._open:
                await self._restart.wait()
                continue
            began, channel = time.monotonic(), self._client.channel
            try:
                answered = await self._stream_once(channel, retries)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                timed_out, reason = await self._client.check_failure(channel, error)
                await retries.wait(began if timed_out else time.monotonic(), reason)
                continue
            if not answered:
                self._client.replace_channel(channel)
                await retries.wait(began, f"{self._client.access.address}: no answer")

    async def _stream_once(self, channel: grpc.aio.Channel, retries: RetryPolicy) -> bool:
        """Follow the oldest images over one stream; tell whether the server answered."""
        ids = list(islice(self._open, MAX_IDS))
        self._in_stream = len(ids)
        call = rpc.watch(ids, channel, self._times.longest + self._times.first_status)
        end = asyncio.create_task(self._close_in_time(call))
        try:
            status = await asyncio.wait_for(call.read(), self._times.first_status)
            while status is not grpc.aio.EOF:
                retries.reset()
                self._on_status(status)
                status = await call.read()
            if self._in_stream:
                await asyncio.sleep(self._times.unknown_retry)  # the server does not announce unknown images
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise  # this task is cancelled, not only the stream
        finally:
            end.cancel()
            call.cancel()
        return True

    async def _close_in_time(self, call: Any) -> None:
        """Cancel a stream when images were added or it is old."""
        await asyncio.sleep(self._times.shortest + _MIN_STREAM_S_PER_IMAGE * self._in_stream)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._restart.wait(), self._times.longest)
        call.cancel()

    def _on_status(self, status: native.Status) -> None:
        followed = self._open.get(status.id)
        if followed is None:
            return
        now = time.monotonic()
        final = status.state in FINAL
        if status.state == native.UNKNOWN:
            followed.unknown_since = followed.unknown_since or now
            final = now - followed.unknown_since >= self._unknown_seconds
        if final:
            del self._open[status.id]
            self._in_stream -= 1
            if len(self._open) > self._in_stream:
                self._restart.set()  # images outside of the stream can join
        if final or status.state not in (followed.state, native.UNKNOWN):
            followed.state = status.state
            self._changed(status)
