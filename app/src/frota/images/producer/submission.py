"""Accepts images: checks each without decoding it, and publishes it; accepted means confirmed by the broker."""

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

from frota.core.backoff import Backoff
from frota.core.errors import MalformedMessage
from frota.core.trace import new_id, trace_of
from frota.images import messages
from frota.images.broker.publisher import NackError, Publisher, UnroutableError
from frota.images.broker.session import BrokerUnavailable
from frota.images.converter.pool import ConverterPool
from frota.images.event_log import image_fields
from frota.images.formats import BadImage, Limits, read_header
from frota.images.messages import QueuedImage
from frota.images.producer.status_store import State, Status, StatusStore
from frota.images.s3.bucket import S3Client, StorageError
from frota.images.settings import ProducerSettings
from frota.logs import log

_DECODE_TIMEOUT_S, DECODE_MEMORY_BYTES = 10.0, 512 << 20  # for a JPEG without its end marker
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 2.0  # between attempts to start the decoder
_INLINE_BYTES = 256 * 1024  # checking so many takes no longer than a switch to another thread


class RejectionKind(Enum):
    """Why an image is rejected, by what its client can do about it."""

    INVALID, TOO_LARGE, FULL, UNAVAILABLE = range(4)


class SubmissionRejected(Exception):
    """The image is not accepted, with the reason in Portuguese; `image` is what its client sent, if known."""

    def __init__(self, kind: RejectionKind, text: str, image: "SubmittedImage | None" = None) -> None:
        super().__init__(text)
        self.kind, self.image = kind, image


@dataclass(frozen=True)
class SubmittedImage:
    """An image as its client submits it, without its bytes."""

    filename: str
    id: str
    trace: str

    @classmethod
    def of(cls, filename: str, image_id: str, traceparent: str) -> "SubmittedImage":
        """Validate a client's fields, and make a missing id or trace id. Raises SubmissionRejected."""
        submitted = cls(filename, image_id or uuid.uuid4().hex, trace_of(traceparent) or new_id())
        try:
            messages.check_name(filename)
            messages.check_id(submitted.id)
        except MalformedMessage as error:
            raise SubmissionRejected(RejectionKind.INVALID, str(error), submitted) from None
        return submitted


@contextmanager
def identify_rejections(submitted: SubmittedImage) -> Iterator[None]:
    """Add the image to rejections raised inside the block."""
    try:
        yield
    except SubmissionRejected as error:
        error.image = submitted
        raise


class SubmissionHandler:
    """Accepts images: after `accept` and `accept_upload` return, the image is on the broker's disk."""

    def __init__(
        self, config: ProducerSettings, publisher: Publisher, statuses: StatusStore, objects: S3Client | None
    ) -> None:
        self.settings = config
        self._publisher, self._statuses, self._objects = publisher, statuses, objects
        self._inspectors = ThreadPoolExecutor(2, "inspect")
        self._decoder, self._decoding = AsyncExitStack(), asyncio.Lock()
        self._pool: ConverterPool | None = None

    async def close(self) -> None:
        """Check no further image."""
        self._inspectors.shutdown(wait=False, cancel_futures=True)
        await self._decoder.aclose()

    async def accept(self, submitted: SubmittedImage, data: bytes, timeout_s: float) -> QueuedImage:
        """Accept an image, with a timeout for the broker in seconds. Raises SubmissionRejected."""
        if len(data) > self.settings.max_bytes:
            raise SubmissionRejected(
                RejectionKind.TOO_LARGE, messages.TOO_LARGE.format(len(data), self.settings.max_bytes)
            )
        sha256 = await self._inspect(data, timeout_s)
        image = QueuedImage(submitted.id, submitted.filename, submitted.trace, sha256, len(data))
        await self._enqueue(image, data, timeout_s)
        return image

    async def accept_upload(
        self, submitted: SubmittedImage, size: int, parts: AsyncIterator[bytes], remaining: Callable[[], float]
    ) -> QueuedImage:
        """Accept an image too large for the queue: it is put into S3, and only its key is published.

        `remaining` returns the seconds left for the broker. Raises SubmissionRejected.
        """
        if not (self._objects and self.settings.uploads_bucket):
            raise SubmissionRejected(RejectionKind.TOO_LARGE, messages.NO_UPLOADS)
        if size > self.settings.max_upload_bytes:
            raise SubmissionRejected(
                RejectionKind.TOO_LARGE, messages.TOO_LARGE.format(size, self.settings.max_upload_bytes)
            )
        self._check_blocked()
        with tempfile.TemporaryFile(dir=self.settings.directory) as file:
            await self._receive(file, size, parts)
            # Not closed here: after a cancellation, a thread may still read it.
            sha256 = await self._inspect(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ), remaining())
            key = messages.upload_key(submitted.id, sha256)
            image = QueuedImage(submitted.id, submitted.filename, submitted.trace, sha256, size, key)
            self._check_id_unused(image)  # before a useless upload
            file.seek(0)
            try:
                await self._objects.upload(self.settings.uploads_bucket, key, file)
            except StorageError as error:
                level = "ERROR" if error.permanent else "WARNING"
                log.record(level, "upload_failed", f"cannot store an upload in S3: {error}", **image_fields(image))
                raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.STORAGE_UNAVAILABLE) from None
        await self._enqueue(image, b"", remaining())
        return image

    async def _receive(self, file: IO[bytes], size: int, parts: AsyncIterator[bytes]) -> None:
        """Write the parts to the file. Raises SubmissionRejected unless they have `size` bytes, more than none."""
        loop, received = asyncio.get_running_loop(), 0
        async for part in parts:
            received += len(part)
            if received > size:
                break
            await loop.run_in_executor(None, file.write, part)
        if received != size or not size:
            raise SubmissionRejected(RejectionKind.INVALID, messages.UPLOAD_SIZE.format(size, received))
        await loop.run_in_executor(None, file.flush)

    async def _inspect(self, data: bytes | mmap.mmap, timeout_s: float) -> str:
        """Check an image, and return the SHA-256 of its bytes. Raises SubmissionRejected."""

        def work() -> tuple[bool, str]:
            return read_header(data, Limits(self.settings.max_pixels)).unterminated, hashlib.sha256(data).hexdigest()

        try:
            if len(data) <= _INLINE_BYTES:
                unterminated, sha256 = work()
            else:
                unterminated, sha256 = await asyncio.get_running_loop().run_in_executor(self._inspectors, work)
            if unterminated and isinstance(data, bytes):  # an upload is checked by the worker
                await self._decode(data, timeout_s)
        except BadImage as error:
            raise SubmissionRejected(RejectionKind.INVALID, str(error)) from None
        return sha256

    async def _decode(self, data: bytes, timeout_s: float) -> None:
        """Decode a JPEG without its end marker in a child process, to see whether it is complete.

        Raises BadImage; SubmissionRejected where no child process starts in time, since acceptance would be a guess.
        """
        backoff = Backoff(_MIN_BACKOFF_S, _MAX_BACKOFF_S)
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._try_decode(data):  # noqa: ASYNC110 -- no event tells that a process can start
                    await asyncio.sleep(backoff.pause())
        except TimeoutError:
            raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.BUSY) from None

    async def _try_decode(self, data: bytes) -> bool:
        """Tell whether a child process could be started to decode. Raises BadImage."""
        try:
            async with self._decoding:
                if self._pool is None:  # few producers ever need it
                    pool = ConverterPool(1, _DECODE_TIMEOUT_S, DECODE_MEMORY_BYTES, self.settings.max_pixels)
                    self._pool = await self._decoder.enter_async_context(pool)
                await self._pool.convert(data, ".jpg")
        except OSError as error:
            log.record("ERROR", "decoder_failed", f"cannot start the decoder process, retrying: {error}")
            return False
        return True

    def _check_blocked(self) -> None:
        """Raise SubmissionRejected while the broker blocks publishers: messages would stay in our memory."""
        if self._publisher.blocked.is_set():
            raise SubmissionRejected(RejectionKind.FULL, messages.BROKER_FULL)

    def _check_id_unused(self, image: QueuedImage) -> None:
        """Raise SubmissionRejected if another image has the id."""
        status = self._statuses.status(image.id)
        if status.state is not State.UNKNOWN and status.sha256 != image.sha256:
            raise SubmissionRejected(RejectionKind.INVALID, messages.ID_IN_USE)

    async def _enqueue(self, image: QueuedImage, body: bytes, timeout_s: float) -> None:
        """Publish the image, and save its status. Raises SubmissionRejected."""
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
        except OSError as error:  # the image is queued nevertheless
            text = f"cannot save the status of image {image.id}, which is queued: {error}"
            log.record("ERROR", "status_write_failed", text, **image_fields(image))

    async def _publish(self, image: QueuedImage, body: bytes) -> None:
        """Publish until confirmed: a duplicate has the same result."""
        properties = pika.BasicProperties(
            message_id=image.id, delivery_mode=2, timestamp=int(time.time()), headers=image.headers()
        )
        while True:
            try:
                return await self._publisher.publish("", messages.QUEUE, body, properties)
            except BrokerUnavailable:
                continue  # the next attempt waits for a connection
