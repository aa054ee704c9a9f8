"""The worker: converts queued images, puts the results into S3, and only then acknowledges them."""

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from frota.core import commands
from frota.core.errors import MalformedMessage
from frota.core.tasks import EssentialTasks, essential
from frota.images import settings
from frota.images.broker import topology
from frota.images.broker.consumer import Consumer, Delivery
from frota.images.broker.publisher import Publisher
from frota.images.broker.session import Session
from frota.images.converter.pool import ConverterPool
from frota.images.event_log import WorkerEventLog, image_fields
from frota.images.formats import BadImage, GreyImage
from frota.images.messages import QUEUE, DeadLetterReason, QueuedImage, extension, result_keys, result_metadata
from frota.images.s3.bucket import ObjectMissing, S3Client, StorageError
from frota.images.settings import WorkerSettings
from frota.images.worker.metrics import in_flight, metrics
from frota.images.worker.outbox import EventOutbox
from frota.images.worker.s3_retry import OutageTimeout, S3Retry
from frota.images.worker.status_publisher import StatusPublisher
from frota.logs import log
from frota.net.http import MonitoringServer
from frota.storage import state_folder

_PREFETCH_PER_CONVERTER = 4  # so that a converter waits neither for the broker nor for S3
_S3_REQUESTS_PER_CONVERTER = 4  # in parallel
_WORKING_EVENT_DELAY_S = 0.5  # most images are done earlier, and need no event
_FINISH_TIMEOUT_S, _REQUEUE_TIMEOUT_S = (
    2.5,
    1.5,
)  # when the worker stops, for images in flight and for requeuing the rest
_UPLOAD_MISSING = DeadLetterReason("gone", "o original não está mais no armazenamento")
_NO_UPLOADS = DeadLetterReason(
    "no_uploads", "este trabalhador não aceita imagens tão grandes: não tem de onde buscá-las"
)
_UPLOAD_ALTERED = DeadLetterReason("altered", "o original no armazenamento não é o que foi enviado")
_KEY_IN_USE = DeadLetterReason("taken", "o nome do resultado já é de um objeto que não veio daqui")


class Unprocessable(Exception):
    """An image that no attempt can convert."""

    def __init__(self, reason: DeadLetterReason) -> None:
        super().__init__(reason.text)
        self.reason = reason


class Worker:
    """The service behind `frota images work`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: WorkerSettings, reread: Callable[[], WorkerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self._name = config.name or socket.gethostname()
        self._event_log = WorkerEventLog(config.log_requests_per_second)
        self._working: dict[asyncio.Task[None], Delivery] = {}
        self._s3_retry = S3Retry()
        self._tasks = EssentialTasks(end)
        self._resources = AsyncExitStack()
        self._requeued_total = 0

    async def start(self) -> str:
        """Start the converters, then connect; the broker may come later."""
        config = self.settings
        self._lock = state_folder.lock(config.directory)
        for leftover in config.directory.glob("*.image*"):  # boto3 appends to the name while it downloads
            leftover.unlink()
        count = config.converters or len(os.sched_getaffinity(0))
        pool = ConverterPool(count, config.conversion_timeout, config.conversion_memory_bytes, config.max_pixels)
        self._pool = await self._resources.enter_async_context(pool)
        self._s3 = S3Client(config, threads=count * _S3_REQUESTS_PER_CONVERTER)
        publisher = Publisher(config, self._declare)
        self._status_publisher = StatusPublisher(publisher, self._name, config.bucket, EventOutbox(config.directory))
        self._consumer = Consumer(
            config, QUEUE, count * (1 + _PREFETCH_PER_CONVERTER), self._on_delivery, self._declare
        )
        own = metrics(self._event_log, self._s3_retry, self._status_publisher, publisher, self._consumer)
        own += in_flight(lambda: len(self._working), lambda: self._requeued_total, self._pool.pids)
        self._monitoring = MonitoringServer(own, self.healthy)
        await self._monitoring.start(config.metrics_host, config.metrics_port)
        self._tasks.start(publisher.run(), self._consumer.run(), self._sweep())
        self._outbox_task = essential(self._status_publisher.publish_outbox(), self._end)
        log.record("INFO", "starting", f"Trabalhador {self._name} iniciado, {count} conversões por vez")
        return f"working with {count} converters, results into {config.bucket}"

    async def stop(self) -> None:
        """Stop consuming, finish the images in flight, requeue the rest."""
        end = time.monotonic() + _FINISH_TIMEOUT_S
        await self._monitoring.stop()
        await self._consumer.cancel()
        if self._working:
            await asyncio.wait(self._working, timeout=end - time.monotonic())
        left = len(self._working)
        seconds = max(end + _REQUEUE_TIMEOUT_S - time.monotonic(), 0)
        await asyncio.gather(self._status_publisher.finish(seconds), self._requeue_all(seconds))
        tasks = [*self._working, self._outbox_task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._tasks.cancel(), *tasks, return_exceptions=True)
        await self._s3.close()
        await self._resources.aclose()
        self._event_log.report()
        log.record("INFO", "stopped", f"stopped; {left} images requeued or left for redelivery", COUNT=left)

    def healthy(self) -> bool:
        """Tell whether the event loop and its essential tasks are alive."""
        return self._tasks.alive()

    def reload(self) -> None:
        """Read the settings again and take those that may change live."""
        self.settings = commands.take_live(self.settings, self._reread(), settings.PREFIX)
        self._event_log.configure(self.settings.log_requests_per_second)
        log.configure(settings.SYSTEM, settings.WORKER_UNIT, self.settings.log_level)

    async def _declare(self, session: Session) -> None:
        if self.settings.declare:
            await topology.declare(session)

    async def _sweep(self) -> None:
        while True:
            self._event_log.sweep()
            await asyncio.sleep(1)

    def _on_delivery(self, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(self._work(delivery))
        self._working[task] = delivery
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        """Drop a finished task; a bug ends the process, and the broker redelivers unacknowledged images."""
        self._working.pop(task, None)
        if not task.cancelled() and (error := task.exception()):
            log.record("CRITICAL", "internal_error", "unexpected error while converting an image", error=error)
            self._end(1)

    async def _requeue_all(self, seconds: float) -> None:
        """Requeue the images in flight; the broker redelivers those that it does not confirm in time."""
        left = {task: delivery for task, delivery in self._working.items() if not task.done()}
        for task in left:
            task.cancel()
        requeuing = [asyncio.ensure_future(self._requeue(delivery)) for delivery in left.values()]
        if requeuing:
            _, late = await asyncio.wait(requeuing, timeout=seconds)
            for requeue in late:
                requeue.cancel()

    async def _requeue(self, delivery: Delivery) -> bool:
        """Requeue an image and acknowledge this delivery; tell whether the broker confirmed it."""
        confirmed = await self._status_publisher.requeue(delivery)
        if confirmed:
            self._requeued_total += 1
            delivery.ack()
        return confirmed

    async def _work(self, delivery: Delivery) -> None:
        """Process a message until its result is in S3 or it is dead-lettered, then acknowledge it."""
        began = time.perf_counter()
        try:
            image = QueuedImage.read(delivery.properties.message_id, delivery.properties.headers)
        except MalformedMessage as error:
            self._event_log.dead_letters.count("foreign")
            log.record("WARNING", "message_foreign", f"a foreign message is dead-lettered: {error}")
            await self._status_publisher.dead_letter(delivery, DeadLetterReason("foreign", str(error)))
            delivery.ack()
            return
        working_timer = asyncio.get_running_loop().call_later(
            _WORKING_EVENT_DELAY_S, self._status_publisher.working, image
        )
        try:
            if not (key := await self._result_unless_requeued(image, delivery)):
                return
        except Unprocessable as error:
            await self._status_publisher.dead_letter(delivery, error.reason, image)
            self._event_log.dead(image, began, error.reason)
        else:
            await self._status_publisher.done(image, key)
            self._event_log.done(image, began, self.settings.bucket, key)
            if image.upload:
                await self._delete_upload(image)
        finally:
            working_timer.cancel()
        delivery.ack()

    async def _result_unless_requeued(self, image: QueuedImage, delivery: Delivery) -> str:
        """Return the key of the result, or an empty text if the image was requeued. Raises Unprocessable."""
        while True:
            try:
                return await self._result(image, delivery.body, self._s3_retry.deadline())
            except OutageTimeout:
                if await self._requeue(delivery):
                    return ""

    async def _result(self, image: QueuedImage, body: bytes, deadline: float) -> str:
        """Put the grey image into S3 and return its key. Raises Unprocessable, OutageTimeout."""
        try:
            if not image.upload:
                return await self._store(image, await self._pool.convert(body, extension(image.filename)), deadline)
            if not self.settings.uploads_bucket:
                raise Unprocessable(_NO_UPLOADS)
            with tempfile.NamedTemporaryFile(dir=self.settings.directory, suffix=".image") as file:
                path = Path(file.name)
                bucket = self.settings.uploads_bucket
                digest = await self._s3_retry.retry(lambda: self._s3.download(bucket, image.upload, path), deadline)
                if digest != image.sha256:
                    raise Unprocessable(_UPLOAD_ALTERED)
                return await self._store(image, await self._pool.convert(path, extension(image.filename)), deadline)
        except BadImage as error:
            raise Unprocessable(DeadLetterReason(error.code, str(error))) from None
        except ObjectMissing:
            if key := await self._existing_key(
                image, deadline
            ):  # a former delivery has put the result and deleted the upload
                return key
            raise Unprocessable(_UPLOAD_MISSING) from None

    async def _store(self, image: QueuedImage, grey: GreyImage, deadline: float) -> str:
        """Put the result under a free key, or find it stored there before. Raises Unprocessable, OutageTimeout."""
        fields = result_metadata(image, grey.width, grey.height, grey.media_type)
        bucket = self.settings.bucket
        for key in result_keys(image.filename, image.sha256):
            put = partial(self._s3.put_new, bucket, key, grey.data, grey.media_type, fields)
            if await self._s3_retry.retry(put, deadline) or await self._is_result_of(key, image, deadline):
                return key
        raise Unprocessable(_KEY_IN_USE)

    async def _existing_key(self, image: QueuedImage, deadline: float) -> str:
        """Return the key of the stored result, or an empty text."""
        for key in result_keys(image.filename, image.sha256):
            if await self._is_result_of(key, image, deadline):
                return key
        return ""

    async def _is_result_of(self, key: str, image: QueuedImage, deadline: float) -> bool:
        """Tell whether an object is the result of an image with the same bytes."""
        try:
            metadata = await self._s3_retry.retry(lambda: self._s3.metadata(self.settings.bucket, key), deadline)
        except ObjectMissing:
            return False
        return metadata.get("source-sha256") == image.sha256

    async def _delete_upload(self, image: QueuedImage) -> None:
        try:
            await self._s3.delete(self.settings.uploads_bucket, image.upload)
        except StorageError as error:
            text = f"{image.upload} was not deleted; the bucket's lifecycle expires it: {error}"
            log.record("INFO", "upload_orphaned", text, **image_fields(image))
