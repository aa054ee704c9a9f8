"""What becomes of images: one stream from the server, opened anew for what came since, and after every interruption."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc.aio

from frota.images.client import calls
from frota.images.client.client import MAX_IDS, Client
from frota.images.client.retry import RetryPolicy
from frota.images.proto import images_pb2 as native

_FIRST_STATUS_TIMEOUT_S = 20.0  # seconds; what is known now comes at once, if anything does
_MAX_STREAM_S = 30.0  # seconds of one stream: a connection may be lost without a word
_MIN_STREAM_S, _MIN_STREAM_S_PER_IMAGE = (
    0.5,
    0.002,
)  # seconds, and for each image in it: a stream begins with all that is known
_UNKNOWN_RETRY_S = 1.0  # seconds before unknown images are asked for again
FINAL = (native.DONE, native.DEAD)


@dataclass
class _Subscription:
    state: int = -1  # none yet
    unknown_since: float | None = None


class StatusStream:
    """Follows images until each is done, dead, or has been unknown for longer than `unknown_seconds`.

    `changed` is called with every new state, and with `UNKNOWN` at the end of an image that nobody knows.
    """

    def __init__(
        self, client: Client, changed: Callable[[native.Status], None], unknown_seconds: float | None = None
    ) -> None:
        self._client, self._changed = client, changed
        self._unknown_seconds = client.access.patience if unknown_seconds is None else unknown_seconds
        self._open: dict[str, _Subscription] = {}
        self._in_stream = 0
        self._restart = asyncio.Event()
        self._complete = False

    def add(self, ids: Iterable[str]) -> None:
        """Follow these, too."""
        self._open.update((one, _Subscription()) for one in ids)
        self._restart.set()

    def complete(self) -> None:
        """Say that no more will be added."""
        self._complete = True
        if not self._open:
            self._restart.set()

    async def run(self) -> None:
        """Follow until the end of all. Raises LegacyServerError, ServerUnavailable, WrongServer, RequestRejected."""
        retries = RetryPolicy(self._client.access.patience)
        while self._open or not self._complete:
            self._restart.clear()
            if not self._open:
                await self._restart.wait()
                continue
            began, channel = time.monotonic(), self._client.channel
            try:
                answered = await self._stream_once(channel, retries)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                silent, reason = await self._client.check_failure(channel, error)
                await retries.wait(began if silent else time.monotonic(), reason)
                continue
            if not answered:
                self._client.replace_channel(channel)
                await retries.wait(began, f"{self._client.access.address}: no answer")

    async def _stream_once(self, channel: grpc.aio.Channel, retries: RetryPolicy) -> bool:
        """Follow the eldest over one stream; tell whether there was any answer."""
        ids = list(islice(self._open, MAX_IDS))
        self._in_stream = len(ids)
        call = calls.watch(ids, channel, _MAX_STREAM_S + _FIRST_STATUS_TIMEOUT_S)
        end = asyncio.create_task(self._close_in_time(call))
        try:
            status = await asyncio.wait_for(call.read(), _FIRST_STATUS_TIMEOUT_S)
            while status is not grpc.aio.EOF:
                retries.reset()
                self._on_status(status)
                status = await call.read()
            if self._in_stream:
                await asyncio.sleep(_UNKNOWN_RETRY_S)  # nothing tells when an unknown image will be known
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise  # it is not the stream that was ended, but we
        finally:
            end.cancel()
            call.cancel()
        return True

    async def _close_in_time(self, call: Any) -> None:
        """End a stream when there is reason for another."""
        await asyncio.sleep(_MIN_STREAM_S + _MIN_STREAM_S_PER_IMAGE * self._in_stream)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._restart.wait(), _MAX_STREAM_S)
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
                self._restart.set()  # there is room in the stream for those outside
        if final or status.state not in (followed.state, native.UNKNOWN):
            followed.state = status.state
            self._changed(status)
