"""How an image is taken in: checked without decoding it, put where workers find it, and only then accepted."""

import asyncio
import hashlib
import mmap
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import IO

import pika

from frota.core.trace import new_id, trace_of
from frota.images import messages
from frota.images.broker.publisher import NackError, Publisher, UnroutableError
from frota.images.broker.session import BrokerUnavailable
from frota.images.converter.pool import Pool
from frota.images.event_log import named
from frota.images.formats import BadImage, Limits, look
from frota.images.messages import BadMessage, Ticket
from frota.images.producer.status_store import State, Status, StatusStore
from frota.images.s3.bucket import S3Client, StorageError
from frota.images.settings import ProducerSettings
from frota.logs import log

_DECODE_SECONDS, _DECODE_BYTES = 10.0, 512 << 20  # for an image that has to be decoded before it is accepted
_DECODER_STARTS = 2  # attempts to get a child process that decodes, before an image is refused for want of one
_SMALL = 256 * 1024  # bytes; to look at so many takes no longer than to hand them to another thread


class Kind(Enum):
    """Why an image is refused, as far as what to do about it goes."""

    INVALID, TOO_LARGE, FULL, AWAY = range(4)


class RefusedError(Exception):
    """The image is not accepted: says in Portuguese why; `offer` is what its client says of it, if that came."""

    def __init__(self, kind: Kind, text: str, offer: "Offer | None" = None) -> None:
        super().__init__(text)
        self.kind, self.offer = kind, offer


@dataclass(frozen=True)
class Offer:
    """What a client says of the image that it sends: an id and a trace, where it brings them."""

    filename: str
    id: str
    trace: str

    @classmethod
    def of(cls, filename: str, image: str, traceparent: str) -> "Offer":
        """Check what a client says; the edge of the fleet makes what is missing. Raises RefusedError."""
        offer = cls(filename, image or uuid.uuid4().hex, trace_of(traceparent) or new_id())
        try:
            messages.check_name(filename)
            messages.check_id(offer.id)
        except BadMessage as error:
            raise RefusedError(Kind.INVALID, str(error), offer) from None
        return offer


@contextmanager
def about(offer: Offer) -> Iterator[None]:
    """Let a refusal in the block say of which image it is."""
    try:
        yield
    except RefusedError as error:
        error.offer = offer
        raise


class Submission:
    """Accepts images: what `accept` and `accept_upload` returned for is on the broker's disk."""

    def __init__(
        self, config: ProducerSettings, publisher: Publisher, statuses: StatusStore, objects: S3Client | None
    ) -> None:
        self.settings = config
        self._publisher, self._statuses, self._objects = publisher, statuses, objects
        self._lookers = ThreadPoolExecutor(2, "look")
        self._decoder, self._decoding = AsyncExitStack(), asyncio.Lock()
        self._pool: Pool | None = None

    async def close(self) -> None:
        """Look at no further image."""
        self._lookers.shutdown(wait=False, cancel_futures=True)
        await self._decoder.aclose()

    async def accept(self, offer: Offer, data: bytes, patience: float) -> Ticket:
        """Take an image in, within so many seconds for the broker. Raises RefusedError."""
        if len(data) > self.settings.max_bytes:
            raise RefusedError(Kind.TOO_LARGE, messages.TOO_LARGE.format(len(data), self.settings.max_bytes))
        sha256 = await self._looked(data)
        ticket = Ticket(offer.id, offer.filename, offer.trace, sha256, len(data))
        await self._queue(ticket, data, patience)
        return ticket

    async def accept_upload(
        self, offer: Offer, size: int, parts: AsyncIterator[bytes], patience: Callable[[], float]
    ) -> Ticket:
        """Take an image in that comes in parts and is too large for the queue: only its key travels there."""
        if not (self._objects and self.settings.uploads_bucket):
            raise RefusedError(Kind.TOO_LARGE, messages.NO_UPLOADS)
        if size > self.settings.max_upload_bytes:
            raise RefusedError(Kind.TOO_LARGE, messages.TOO_LARGE.format(size, self.settings.max_upload_bytes))
        self._check_room()
        with tempfile.TemporaryFile(dir=self.settings.directory) as file:
            await self._receive(file, size, parts)
            # Nobody closes it: when the client is gone, a thread may still be looking.
            sha256 = await self._looked(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ))
            key = messages.upload_key(offer.id, sha256)
            ticket = Ticket(offer.id, offer.filename, offer.trace, sha256, size, key)
            self._check_unused(ticket)  # before what is known by this id has a neighbour that nobody wants
            file.seek(0)
            try:
                await self._objects.upload(self.settings.uploads_bucket, key, file)
            except StorageError as error:
                level = "ERROR" if error.lasting else "WARNING"
                log.record(level, "upload_failed", f"S3 does not take an upload: {error}", **named(ticket))
                raise RefusedError(Kind.AWAY, messages.STORAGE_AWAY) from None
        await self._queue(ticket, b"", patience())
        return ticket

    async def _receive(self, file: IO[bytes], size: int, parts: AsyncIterator[bytes]) -> None:
        """Write the parts to the file; exactly `size` bytes, more than none."""
        loop, received = asyncio.get_running_loop(), 0
        async for part in parts:
            received += len(part)
            if received > size:
                break
            await loop.run_in_executor(None, file.write, part)
        if received != size or not size:
            raise RefusedError(Kind.INVALID, messages.UPLOAD_SIZE.format(size, received))
        await loop.run_in_executor(None, file.flush)

    async def _looked(self, data: bytes | mmap.mmap) -> str:
        """Look at an image, and return the SHA-256 of its bytes. Raises RefusedError."""

        def work() -> tuple[bool, str]:
            return look(data, Limits(self.settings.max_pixels)).open_ended, hashlib.sha256(data).hexdigest()

        try:
            if len(data) <= _SMALL:
                open_ended, sha256 = work()
            else:
                open_ended, sha256 = await asyncio.get_running_loop().run_in_executor(self._lookers, work)
            if open_ended and isinstance(data, bytes):  # of an upload, which is larger, a worker will see
                await self._decode(data)
        except BadImage as error:
            raise RefusedError(Kind.INVALID, str(error)) from None
        return sha256

    async def _decode(self, data: bytes) -> None:
        """Let a child of ours decode an image of which nothing else can tell whether it is whole.

        Raises BadImage; RefusedError where no child can be started, since an answer that it is whole would be a guess.
        """
        for attempt in range(1, _DECODER_STARTS + 1):
            try:
                async with self._decoding:
                    if self._pool is None:  # most producers never need it
                        pool = Pool(1, _DECODE_SECONDS, _DECODE_BYTES, self.settings.max_pixels)
                        self._pool = await self._decoder.enter_async_context(pool)
                    await self._pool.convert(data, ".jpg")
            except OSError as error:
                text = f"the decoder cannot be started (attempt {attempt} of {_DECODER_STARTS}): {error}"
                log.record("ERROR", "decoder_failed", text)
            else:
                return
        raise RefusedError(Kind.AWAY, messages.BUSY)

    def _check_room(self) -> None:
        """Raise RefusedError while the broker has no room: what is published then stays in our memory."""
        if self._publisher.no_room.is_set():
            raise RefusedError(Kind.FULL, messages.BROKER_FULL)

    def _check_unused(self, ticket: Ticket) -> None:
        """Raise RefusedError where the id is another image's."""
        known = self._statuses.known(ticket.id)
        if known.state is not State.UNKNOWN and known.sha256 != ticket.sha256:
            raise RefusedError(Kind.INVALID, messages.USED_ID)

    async def _queue(self, ticket: Ticket, body: bytes, patience: float) -> None:
        """Publish, and keep that the image is queued. Raises RefusedError."""
        self._check_room()
        self._check_unused(ticket)
        try:
            async with asyncio.timeout(patience):
                await self._publish(ticket, body)
        except (TimeoutError, UnroutableError):
            raise RefusedError(Kind.AWAY, messages.BROKER_AWAY) from None
        except NackError:
            raise RefusedError(Kind.FULL, messages.BROKER_FULL) from None
        queued = Status(ticket.id, State.QUEUED, time.time(), ticket.filename, ticket.trace, ticket.sha256)
        try:
            await self._statuses.note(queued)
        except OSError as error:  # the image is where it should be all the same
            text = f"that image {ticket.id} is queued cannot be kept: {error}"
            log.record("ERROR", "status_write_failed", text, **named(ticket))

    async def _publish(self, ticket: Ticket, body: bytes) -> None:
        """Publish until it is confirmed: a second copy is the same image, and makes no second result."""
        properties = pika.BasicProperties(
            message_id=ticket.id, delivery_mode=2, timestamp=int(time.time()), headers=ticket.headers()
        )
        while True:
            try:
                return await self._publisher.publish("", messages.QUEUE, body, properties)
            except BrokerUnavailable:
                continue  # the next try waits until there is a connection
