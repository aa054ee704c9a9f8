"""The images' client: one that sends again what was not answered, under the same id, so that nothing is done twice."""

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

from frota.core.errors import ServerUnavailable
from frota.images import messages
from frota.images.access import Access
from frota.images.client import calls, diagnosis
from frota.images.client.calls import Image
from frota.images.client.retry import FIRST_PAUSE, LONGEST_PAUSE, RetryPolicy
from frota.images.proto import images_pb2 as native
from frota.images.settings import MIB
from frota.logs.log import printable

LARGEST_MESSAGE = 15 * MIB  # bytes; what is larger is uploaded
MOST_IDS = 1000  # in one question
_LARGE, _LARGE_AT_ONCE = 4 * MIB, 4  # bytes of a message that takes much memory, several times, and how many may
_SLOWEST = MIB // 4  # bytes/s; an image has this much more time than a mere question
_TRY = 20.0  # seconds for an answer; after that, the connection may be the one that is lost
_QUIET = 5.0  # seconds between two lines, or looks, at a server that does not answer
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is then a new connection
    ("grpc.initial_reconnect_backoff_ms", int(FIRST_PAUSE * 1000)),
    ("grpc.max_reconnect_backoff_ms", int(LONGEST_PAUSE * 1000)),
    ("grpc.max_receive_message_length", 16 * MIB),
    ("grpc.enable_http_proxy", 0),  # the fleet's network is private
)
_AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,  # how a connection's end looks to a call that it meets
)
_ANSWERS = (messages.BROKER_AWAY, messages.BROKER_FULL, messages.STORAGE_AWAY, messages.STOPPING)
_LAST_ERROR = re.compile(r"last error: \w+: \S+: (?:Failed to connect to remote host: )?(.*)")
_OVERSIZE = re.compile(r".*larger than max \((\d+) vs\. (\d+)\)")
T = TypeVar("T")


class NoConversation(OSError):
    """The server is there, but not to be spoken with in the way we were told: says what is wrong."""


class Original(OSError):
    """The server is one of the original's, which cannot do what was asked for."""


class Refused(Exception):
    """The image will not be taken: a code for machines, and a sentence, in Portuguese, for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def tell(text: str) -> None:
    """Say something about the connection on standard error."""
    print(f"frota: {printable(text)}", file=sys.stderr, flush=True)


class Client:
    """Any number of requests to one server, several at a time if need be."""

    def __init__(self, access: Access, tell: Callable[[str], None] = tell) -> None:
        """Look at the certificates. Raises SettingsError for those that are of no use."""
        diagnosis.context(access.ca_file, access.cert_file, access.key_file)
        self.access = access
        self.original = False  # known once it was asked for something that an original does not know
        self.sent = 0  # bytes so far
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._tell, self._told, self._looked = tell, -_QUIET, -_QUIET
        self._closing: set[asyncio.Task[None]] = set()
        self.channel = self._connect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.gather(self.channel.close(), *self._closing)

    async def send(self, image: Image) -> str:
        """Have an image accepted, once, and return the sentence that says so. Raises Refused, BadFile and as `ask`."""
        if image.size > LARGEST_MESSAGE:
            return await self._upload(image)
        async with self._large if image.size > _LARGE else nullcontext():
            text = await self._send(image)
        self.sent += image.size
        return text

    async def _send(self, image: Image) -> str:
        if not self.original:
            request = await asyncio.to_thread(calls.send_request, image)
            try:
                await self.ask(partial(calls.send, image, request), image.size)
            except Original:
                self.original = True
            else:
                return messages.RECEIVED.format(image.name)
        request = await asyncio.to_thread(calls.original_request, image)
        # It knows no ids and may take it twice; but the second result is then the first, byte for byte.
        reply = await self.ask(partial(calls.send_image, image, request), image.size)
        if not reply.success:
            raise Refused("REFUSED", reply.message)
        return reply.message

    async def _upload(self, image: Image) -> str:
        try:
            if not self.original:
                await self.ask(partial(calls.upload, image, self._progress), image.size)
                return messages.RECEIVED.format(image.name)
        except Original:
            self.original = True
        except ServerUnavailable as error:
            if messages.STORAGE_AWAY not in str(error):
                raise
            raise Refused("UNAVAILABLE", messages.STORAGE_AWAY) from None  # which does not concern smaller ones
        raise Refused("RESOURCE_EXHAUSTED", messages.TOO_LARGE.format(image.size, LARGEST_MESSAGE))

    async def statuses(self, ids: Sequence[str]) -> list[native.Status]:
        """Return what is known of each id, in their order. Raises as `ask` does."""
        found: list[native.Status] = []
        for start in range(0, len(ids), MOST_IDS):
            reply = await self.ask(partial(calls.get_status, ids[start : start + MOST_IDS]))
            found += reply.statuses
        return found

    async def ask(self, attempt: Callable[[grpc.aio.Channel, float], Awaitable[T]], size: int = 0) -> T:
        """Make an attempt, given a channel and its seconds, until there is an answer.

        Raises Refused, Original, ServerUnavailable, NoConversation.
        """
        patience = RetryPolicy(self.access.patience)
        while True:
            began, channel = time.monotonic(), self.channel
            try:
                return await attempt(channel, min(_TRY, max(1.0, patience.left)) + size / _SLOWEST)
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                silent, reason = await self.failed(channel, error)
            await patience.pause(began if silent else time.monotonic(), reason)

    async def failed(
        self, channel: grpc.aio.Channel, error: grpc.aio.AioRpcError | asyncio.CancelledError
    ) -> tuple[bool, str]:
        """Tell whether a call that may be made again met with silence, and what is wrong. Raises what is final."""
        if isinstance(error, asyncio.CancelledError):  # by us, or with the channel that another call has given up
            if (task := asyncio.current_task()) and task.cancelling():
                raise error
            return False, "the connection was given up"
        code, text = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNIMPLEMENTED:
            raise Original(f"{self.access.address} is one of the original's: it does not tell what becomes of an image")
        if code not in _AGAIN and text != messages.BROKER_FULL:
            raise Refused(code.name, _in_portuguese(text))
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            text = "no answer"
            self.renew(channel)
        elif text not in _ANSWERS:
            await self._diagnose()
        found = _LAST_ERROR.search(text)
        reason = found[1] if found else text
        self._complain(reason)
        return code is grpc.StatusCode.DEADLINE_EXCEEDED, f"{self.access.address}: {reason}"

    def renew(self, channel: grpc.aio.Channel) -> None:
        """Give up a channel over which nothing is heard; what others wait for over it may still come."""
        if channel is self.channel:
            self._closing.add(asyncio.create_task(channel.close(_TRY)))
            self.channel = self._connect()

    def _connect(self) -> grpc.aio.Channel:
        access = self.access
        if access.ca_file is None:
            return grpc.aio.insecure_channel(access.address, _OPTIONS)
        ours = [file.read_bytes() if file else None for file in (access.ca_file, access.key_file, access.cert_file)]
        return grpc.aio.secure_channel(access.address, grpc.ssl_channel_credentials(*ours), _OPTIONS)

    async def _diagnose(self) -> None:
        """Look why there is no connection, though not each time. Raises NoConversation."""
        now = time.monotonic()
        if now - self._looked >= _QUIET:
            self._looked = now
            if verdict := await asyncio.to_thread(diagnosis.explain, self.access):
                raise NoConversation(f"{self.access.address}: {verdict}")

    def _complain(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._told >= _QUIET:
            self._told = now
            self._tell(f"{self.access.address} does not answer, trying again: {reason}")

    def _progress(self, count: int) -> None:
        self.sent += count


def _in_portuguese(text: str) -> str:
    """Return a refusal as people should read it, also where it is gRPC's own."""
    found = _OVERSIZE.match(text)
    return messages.TOO_LARGE.format(found[1], found[2]) if found else text
