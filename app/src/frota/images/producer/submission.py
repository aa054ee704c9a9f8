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
from frota.images.converter.pool import ConverterPool
from frota.images.event_log import image_fields
from frota.images.formats import BadImage, Limits, read_header
from frota.images.messages import InvalidMessage, QueuedImage
from frota.images.producer.status_store import State, Status, StatusStore
from frota.images.s3.bucket import S3Client, StorageError
from frota.images.settings import ProducerSettings
from frota.logs import log

_DECODE_TIMEOUT_S, _DECODE_BYTES = 10.0, 512 << 20  # for an image that has to be decoded before it is accepted
_DECODER_ATTEMPTS = 2  # attempts to get a child process that decodes, before an image is refused for want of one
_INLINE_BYTES = 256 * 1024  # bytes; to look at so many takes no longer than to hand them to another thread


class RejectionKind(Enum):
    """Why an image is refused, as far as what to do about it goes."""

    INVALID, TOO_LARGE, FULL, UNAVAILABLE = range(4)


class SubmissionRejected(Exception):
    """The image is not accepted: says in Portuguese why; `offer` is what its client says of it, if that came."""

    def __init__(self, kind: RejectionKind, text: str, submitted: "SubmittedImage | None" = None) -> None:
        super().__init__(text)
        self.kind, self.submitted = kind, submitted


@dataclass(frozen=True)
class SubmittedImage:
    """What a client says of the image that it sends: an id and a trace, where it brings them."""

    filename: str
    id: str
    trace: str

    @classmethod
    def of(cls, filename: str, image: str, traceparent: str) -> "SubmittedImage":
        """Check what a client says; the edge of the fleet makes what is missing. Raises SubmissionRejected."""
        submitted = cls(filename, image or uuid.uuid4().hex, trace_of(traceparent) or new_id())
        try:
            messages.check_name(filename)
            messages.check_id(submitted.id)
        except InvalidMessage as error:
            raise SubmissionRejected(RejectionKind.INVALID, str(error), submitted) from None
        return submitted


@contextmanager
def identify_rejections(submitted: SubmittedImage) -> Iterator[None]:
    """Let a refusal in the block say of which image it is."""
    try:
        yield
    except SubmissionRejected as error:
        error.submitted = submitted
        raise


class SubmissionHandler:
    """Accepts images: what `accept` and `accept_upload` returned for is on the broker's disk."""

    def __init__(
        self, config: ProducerSettings, publisher: Publisher, statuses: StatusStore, objects: S3Client | None
    ) -> None:
        self.settings = config
        self._publisher, self._statuses, self._objects = publisher, statuses, objects
        self._inspectors = ThreadPoolExecutor(2, "look")
        self._decoder, self._decoding = AsyncExitStack(), asyncio.Lock()
        self._pool: ConverterPool | None = None

    async def close(self) -> None:
        """Look at no further image."""
        self._inspectors.shutdown(wait=False, cancel_futures=True)
        await self._decoder.aclose()

    async def accept(self, submitted: SubmittedImage, data: bytes, timeout_s: float) -> QueuedImage:
        """Take an image in, within so many seconds for the broker. Raises SubmissionRejected."""
        if len(data) > self.settings.max_bytes:
            raise SubmissionRejected(
                RejectionKind.TOO_LARGE, messages.TOO_LARGE.format(len(data), self.settings.max_bytes)
            )
        sha256 = await self._inspect(data)
        image = QueuedImage(submitted.id, submitted.filename, submitted.trace, sha256, len(data))
        await self._enqueue(image, data, timeout_s)
        return image

    async def accept_upload(
        self, submitted: SubmittedImage, size: int, parts: AsyncIterator[bytes], remaining: Callable[[], float]
    ) -> QueuedImage:
        """Take an image in that comes in parts and is too large for the queue: only its key travels there."""
        if not (self._objects and self.settings.uploads_bucket):
            raise SubmissionRejected(RejectionKind.TOO_LARGE, messages.NO_UPLOADS)
        if size > self.settings.max_upload_bytes:
            raise SubmissionRejected(
                RejectionKind.TOO_LARGE, messages.TOO_LARGE.format(size, self.settings.max_upload_bytes)
            )
        self._check_blocked()
        with tempfile.TemporaryFile(dir=self.settings.directory) as file:
            await self._receive(file, size, parts)
            # Nobody closes it: when the client is gone, a thread may still be looking.
            sha256 = await self._inspect(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ))
            key = messages.upload_key(submitted.id, sha256)
            image = QueuedImage(submitted.id, submitted.filename, submitted.trace, sha256, size, key)
            self._check_id_unused(image)  # before what is known by this id has a neighbour that nobody wants
            file.seek(0)
            try:
                await self._objects.upload(self.settings.uploads_bucket, key, file)
            except StorageError as error:
                level = "ERROR" if error.permanent else "WARNING"
                log.record(level, "upload_failed", f"S3 does not take an upload: {error}", **image_fields(image))
                raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.STORAGE_UNAVAILABLE) from None
        await self._enqueue(image, b"", remaining())
        return image

    async def _receive(self, file: IO[bytes], size: int, parts: AsyncIterator[bytes]) -> None:
        """Write the parts to the file; exactly `size` bytes, more than none."""
        loop, received = asyncio.get_running_loop(), 0
        async for part in parts:
            received += len(part)
            if received > size:
                break
            await loop.run_in_executor(None, file.write, part)
        if received != size or not size:
            raise SubmissionRejected(RejectionKind.INVALID, messages.UPLOAD_SIZE.format(size, received))
        await loop.run_in_executor(None, file.flush)

    async def _inspect(self, data: bytes | mmap.mmap) -> str:
        """Look at an image, and return the SHA-256 of its bytes. Raises SubmissionRejected."""

        def work() -> tuple[bool, str]:
            return read_header(data, Limits(self.settings.max_pixels)).unterminated, hashlib.sha256(data).hexdigest()

        try:
            if len(data) <= _INLINE_BYTES:
                unterminated, sha256 = work()
            else:
                unterminated, sha256 = await asyncio.get_running_loop().run_in_executor(self._inspectors, work)
            if unterminated and isinstance(data, bytes):  # of an upload, which is larger, a worker will see
                await self._decode(data)
        except BadImage as error:
            raise SubmissionRejected(RejectionKind.INVALID, str(error)) from None
        return sha256

    async def _decode(self, data: bytes) -> None:
        """Let a child of ours decode an image of which nothing else can tell whether it is whole.

        Raises BadImage; SubmissionRejected where no child process starts, since acceptance would be a guess.
        """
        for attempt in range(1, _DECODER_ATTEMPTS + 1):
            try:
                async with self._decoding:
                    if self._pool is None:  # most producers never need it
                        pool = ConverterPool(1, _DECODE_TIMEOUT_S, _DECODE_BYTES, self.settings.max_pixels)
                        self._pool = await self._decoder.enter_async_context(pool)
                    await self._pool.convert(data, ".jpg")
            except OSError as error:
                text = f"the decoder cannot be started (attempt {attempt} of {_DECODER_ATTEMPTS}): {error}"
                log.record("ERROR", "decoder_failed", text)
            else:
                return
        raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.BUSY)

    def _check_blocked(self) -> None:
        """Raise SubmissionRejected while the broker has no room: what is published then stays in our memory."""
        if self._publisher.blocked.is_set():
            raise SubmissionRejected(RejectionKind.FULL, messages.BROKER_FULL)

    def _check_id_unused(self, image: QueuedImage) -> None:
        """Raise SubmissionRejected where the id is another image's."""
        known = self._statuses.status(image.id)
        if known.state is not State.UNKNOWN and known.sha256 != image.sha256:
            raise SubmissionRejected(RejectionKind.INVALID, messages.ID_IN_USE)

    async def _enqueue(self, image: QueuedImage, body: bytes, timeout_s: float) -> None:
        """Publish, and keep that the image is queued. Raises SubmissionRejected."""
        self._check_blocked()
        self._check_id_unused(image)
        try:
            async with asyncio.timeout(timeout_s):
                await self._publish(image, body)
        except (TimeoutError, UnroutableError):
            raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.BROKER_UNAVAILABLE) from None
        except NackError:
            raise SubmissionRejected(RejectionKind.FULL, messages.BROKER_FULL) from None
        queued = Status(image.id, State.QUEUED, time.time(), image.filename, image.trace, image.sha256)
        try:
            await self._statuses.save(queued)
        except OSError as error:  # the image is where it should be all the same
            text = f"that image {image.id} is queued cannot be kept: {error}"
            log.record("ERROR", "status_write_failed", text, **image_fields(image))

    async def _publish(self, image: QueuedImage, body: bytes) -> None:
        """Publish until it is confirmed: a second copy is the same image, and makes no second result."""
        properties = pika.BasicProperties(
            message_id=image.id, delivery_mode=2, timestamp=int(time.time()), headers=image.headers()
        )
        while True:
            try:
                return await self._publisher.publish("", messages.QUEUE, body, properties)
            except BrokerUnavailable:
                continue  # the next try waits until there is a connection
