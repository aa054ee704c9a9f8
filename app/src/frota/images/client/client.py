"""The client: retries unanswered requests under the same image id, so that the server deduplicates them."""

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from frota.core.errors import RequestRejected, ServerUnavailable, UnsupportedByServer, WrongServer
from frota.images import messages
from frota.images.client import diagnosis, rpc
from frota.images.client.retry import MAX_BACKOFF_S, MIN_BACKOFF_S, RetryPolicy
from frota.images.client.rpc import Image
from frota.images.client_settings import ClientSettings
from frota.images.proto import images_pb2 as native
from frota.images.settings import MIB
from frota.logs.log import printable

MAX_MESSAGE_BYTES = 15 * MIB  # larger images are uploaded in parts
MAX_IDS = 1000  # in one request
_LARGE_BYTES = 4 * MIB  # gRPC holds several copies of a message
_MAX_LARGE_MESSAGES = 4  # at the same time
_MIN_BYTES_PER_SECOND = MIB // 4  # an attempt's timeout grows by its image's size / this
_ATTEMPT_TIMEOUT_S = 20.0  # for a response; then the connection counts as half-open
_WARNING_INTERVAL_S = 5.0  # between two warnings, or diagnoses, of an unavailable server
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is then a new connection
    ("grpc.initial_reconnect_backoff_ms", int(MIN_BACKOFF_S * 1000)),
    ("grpc.max_reconnect_backoff_ms", int(MAX_BACKOFF_S * 1000)),
    ("grpc.max_receive_message_length", 16 * MIB),
    ("grpc.enable_http_proxy", 0),  # the fleet's network is private
)
_RETRYABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,  # gRPC's code for a call whose connection is closed
)
_SERVER_ANSWERS = (messages.BROKER_UNAVAILABLE, messages.BROKER_FULL, messages.STORAGE_UNAVAILABLE, messages.STOPPING)
_LAST_ERROR = re.compile(r"last error: \w+: \S+: (?:Failed to connect to remote host: )?(.*)")
_OVERSIZE = re.compile(r".*larger than max \((\d+) vs\. (\d+)\)")
T = TypeVar("T")


def warn(text: str) -> None:
    """Print a message about the connection on standard error."""
    print(f"frota: {printable(text)}", file=sys.stderr, flush=True)


class Client:
    """Requests to one server, any number in parallel."""

    def __init__(
        self, access: ClientSettings, warn: Callable[[str], None] = warn, attempt_timeout_s: float = _ATTEMPT_TIMEOUT_S
    ) -> None:
        """Check the certificates. Raises SettingsError for unusable ones."""
        diagnosis.tls_context(access.ca_file, access.cert_file, access.key_file)
        self.access, self._attempt_timeout_s = access, attempt_timeout_s
        self.legacy = False  # found out by the first native request
        self.sent = 0  # bytes so far
        self._large = asyncio.Semaphore(_MAX_LARGE_MESSAGES)
        self._warn, self._warned_at, self._diagnosed_at = warn, -_WARNING_INTERVAL_S, -_WARNING_INTERVAL_S
        self._closing: set[asyncio.Task[None]] = set()
        self.channel = self._connect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.gather(self.channel.close(), *self._closing)

    async def send(self, image: Image) -> str:
        """Submit an image and return the text of its acceptance. Raises RequestRejected, BadFile and as `call`."""
        if image.size > MAX_MESSAGE_BYTES:
            return await self._upload(image)
        async with self._large if image.size > _LARGE_BYTES else nullcontext():
            text = await self._send(image)
        self.sent += image.size
        return text

    async def _send(self, image: Image) -> str:
        if not self.legacy:
            request = await asyncio.to_thread(rpc.send_request, image)
            try:
                await self.call(partial(rpc.send, image, request), image.size)
            except UnsupportedByServer:
                self.legacy = True
            else:
                return messages.RECEIVED.format(image.name)
        request = await asyncio.to_thread(rpc.legacy_request, image)
        # The legacy protocol has no ids: a retry may queue the image twice, but both have the same result.
        reply = await self.call(partial(rpc.send_legacy, image, request), image.size)
        if not reply.success:
            raise RequestRejected("REFUSED", reply.message)
        return reply.message

    async def _upload(self, image: Image) -> str:
        try:
            if not self.legacy:
                await self.call(partial(rpc.upload, image, self._progress), image.size)
                return messages.RECEIVED.format(image.name)
        except UnsupportedByServer:
            self.legacy = True
        except ServerUnavailable as error:
            if messages.STORAGE_UNAVAILABLE not in str(error):
                raise
            raise RequestRejected(
                "UNAVAILABLE", messages.STORAGE_UNAVAILABLE
            ) from None  # smaller images can still be sent
        raise RequestRejected("RESOURCE_EXHAUSTED", messages.TOO_LARGE.format(image.size, MAX_MESSAGE_BYTES))

    async def statuses(self, ids: Sequence[str]) -> list[native.Status]:
        """Return the status of each id, in their order. Raises as `call` does."""
        statuses: list[native.Status] = []
        for start in range(0, len(ids), MAX_IDS):
            reply = await self.call(partial(rpc.get_status, ids[start : start + MAX_IDS]))
            statuses += reply.statuses
        return statuses

    async def call(self, attempt: Callable[[grpc.aio.Channel, float], Awaitable[T]], size: int = 0) -> T:
        """Make attempts, each given a channel and a timeout in seconds, until one is answered.

        Raises RequestRejected, UnsupportedByServer, ServerUnavailable, WrongServer.
        """
        retries = RetryPolicy(self.access.timeout)
        while True:
            began, channel = time.monotonic(), self.channel
            try:
                return await attempt(
                    channel, min(self._attempt_timeout_s, max(1.0, retries.remaining)) + size / _MIN_BYTES_PER_SECOND
                )
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                timed_out, reason = await self.check_failure(channel, error)
            await retries.wait(began if timed_out else time.monotonic(), reason)

    async def check_failure(
        self, channel: grpc.aio.Channel, error: grpc.aio.AioRpcError | asyncio.CancelledError
    ) -> tuple[bool, str]:
        """Return whether a failed call timed out, and the reason. Raises where a retry would not help."""
        if isinstance(error, asyncio.CancelledError):  # of this task, or of a channel that another call replaced
            if (task := asyncio.current_task()) and task.cancelling():
                raise error
            return False, "the connection was replaced"
        code, text = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNIMPLEMENTED:
            raise UnsupportedByServer(f"{self.access.address} speaks the legacy protocol, which has no image status")
        if code not in _RETRYABLE and text != messages.BROKER_FULL:
            raise RequestRejected(code.name, _in_portuguese(text))
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            text = "no answer"
            self.replace_channel(channel)
        elif text not in _SERVER_ANSWERS:
            await self._diagnose()
        match = _LAST_ERROR.search(text)
        reason = match[1] if match else text
        self._warn_of_retry(reason)
        return code is grpc.StatusCode.DEADLINE_EXCEEDED, f"{self.access.address}: {reason}"

    def replace_channel(self, channel: grpc.aio.Channel) -> None:
        """Replace a channel without responses; its other calls may still finish within their timeout."""
        if channel is self.channel:
            self._closing.add(asyncio.create_task(channel.close(self._attempt_timeout_s)))
            self.channel = self._connect()

    def _connect(self) -> grpc.aio.Channel:
        access = self.access
        if access.ca_file is None:
            return grpc.aio.insecure_channel(access.address, _OPTIONS)
        pem = [file.read_bytes() if file else None for file in (access.ca_file, access.key_file, access.cert_file)]
        return grpc.aio.secure_channel(access.address, grpc.ssl_channel_credentials(*pem), _OPTIONS)

    async def _diagnose(self) -> None:
        """Probe why there is no connection, once per interval. Raises WrongServer."""
        now = time.monotonic()
        if now - self._diagnosed_at >= _WARNING_INTERVAL_S:
            self._diagnosed_at = now
            if verdict := await asyncio.to_thread(diagnosis.explain, self.access):
                raise WrongServer(f"{self.access.address}: {verdict}")

    def _warn_of_retry(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _WARNING_INTERVAL_S:
            self._warned_at = now
            self._warn(f"{self.access.address} does not answer, trying again: {reason}")

    def _progress(self, count: int) -> None:
        self.sent += count


def _in_portuguese(text: str) -> str:
    """Return a rejection's text; gRPC's own is translated."""
    match = _OVERSIZE.match(text)
    return messages.TOO_LARGE.format(match[1], match[2]) if match else text
