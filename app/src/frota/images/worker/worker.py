"""The worker: turns queued images grey, puts them into S3, and lets the broker forget them only then."""

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
from frota.core.tasks import EssentialTasks, essential
from frota.images import settings
from frota.images.broker import topology
from frota.images.broker.consumer import Consumer, Delivery
from frota.images.broker.publisher import Publisher
from frota.images.broker.session import Session
from frota.images.converter.pool import Pool
from frota.images.event_log import WorkerEventLog, named
from frota.images.formats import BadImage, Grey
from frota.images.messages import QUEUE, BadMessage, Death, Ticket, extension, metadata, result_keys
from frota.images.s3.bucket import MissingError, S3Client, StorageError
from frota.images.settings import WorkerSettings
from frota.images.worker.outbox import Outbox
from frota.images.worker.s3_retry import HeldError, S3Retry
from frota.images.worker.status_publisher import StatusPublisher
from frota.logs import log
from frota.storage import state_folder

_AHEAD = 4  # images a converter has waiting, so that neither broker nor S3 makes it wait
_THREADS = 4  # requests to S3 for each converter
_TELL_AFTER = 0.5  # seconds until others are told that an image is worked on: most are done before anybody could look
_FINISH_SECONDS, _REQUEUE_SECONDS = 2.5, 1.5  # for images in flight when the worker stops, and to requeue the rest
_GONE = Death("gone", "o original não está mais no armazenamento")
_NO_UPLOADS = Death("no_uploads", "este trabalhador não aceita imagens tão grandes: não tem de onde buscá-las")
_ALTERED = Death("altered", "o original no armazenamento não é o que foi enviado")
_TAKEN = Death("taken", "o nome do resultado já é de um objeto que não veio daqui")


class DeadError(Exception):
    """An image that cannot be worked on, however often it is tried."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.text)
        self.death = death


class Worker:
    """The service behind `frota images work`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: WorkerSettings, reread: Callable[[], WorkerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self._name = config.name or socket.gethostname()
        self._event_log = WorkerEventLog(config.log_requests_per_second)
        self._working: dict[asyncio.Task[None], Delivery] = {}
        self._outage = S3Retry()
        self._tasks = EssentialTasks(end)
        self._held = AsyncExitStack()

    async def start(self) -> str:
        """Start the converters, and connect; the broker may come later."""
        config = self.settings
        self._lock = state_folder.lock(config.directory)
        for left in config.directory.glob("*.image*"):  # boto3 writes to a name of its own, which is longer
            left.unlink()
        count = config.converters or len(os.sched_getaffinity(0))
        pool = Pool(count, config.convert_seconds, config.convert_bytes, config.max_pixels)
        self._pool = await self._held.enter_async_context(pool)
        self._objects = S3Client(config, threads=count * _THREADS)
        publisher = Publisher(config, self._declare)
        self._reporter = StatusPublisher(publisher, self._name, config.bucket, Outbox(config.directory))
        self._consumer = Consumer(config, QUEUE, count * (1 + _AHEAD), self._take, self._declare)
        self._tasks.start(publisher.run(), self._consumer.run(), self._sweep())
        self._telling = essential(self._reporter.tell_owed(), self._end)
        log.record("INFO", "starting", f"Trabalhador {self._name} iniciado, {count} conversões por vez")
        return f"working with {count} converters, results into {config.bucket}"

    async def stop(self) -> None:
        """Take nothing new, finish the images in flight, requeue the rest."""
        end = time.monotonic() + _FINISH_SECONDS
        await self._consumer.cancel()
        if self._working:
            await asyncio.wait(self._working, timeout=end - time.monotonic())
        left = len(self._working)
        seconds = max(end + _REQUEUE_SECONDS - time.monotonic(), 0)
        await asyncio.gather(self._reporter.finish(seconds), self._requeue_all(seconds))
        tasks = [*self._working, self._telling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._tasks.cancel(), *tasks, return_exceptions=True)
        await self._objects.close()
        await self._held.aclose()
        self._event_log.report()
        log.record("INFO", "stopped", f"stopped; {left} images requeued or handed back", COUNT=left)

    def healthy(self) -> bool:
        """Tell whether the loop and what it cannot be without are alive."""
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

    def _take(self, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(self._work(delivery))
        self._working[task] = delivery
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        """Forget a task; an error of ours ends the process, and what is not acknowledged comes again."""
        self._working.pop(task, None)
        if not task.cancelled() and (error := task.exception()):
            log.record("CRITICAL", "internal_error", "unexpected error while converting an image", error=error)
            self._end(1)

    async def _requeue_all(self, seconds: float) -> None:
        """Requeue the images in flight: those that the broker does not confirm in time are handed back to it."""
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
        taken = await self._reporter.again(delivery)
        if taken:
            delivery.ack()
        return taken

    async def _work(self, delivery: Delivery) -> None:
        """See one message through: result in S3, or the image among the dead; only then the broker may forget it."""
        began = time.perf_counter()
        try:
            ticket = Ticket.read(delivery.properties.message_id, delivery.properties.headers)
        except BadMessage as error:
            log.record("WARNING", "message_foreign", f"a message that is no image is put among the dead: {error}")
            await self._reporter.dead(delivery, Death("foreign", str(error)))
            delivery.ack()
            return
        telling = asyncio.get_running_loop().call_later(_TELL_AFTER, self._reporter.working, ticket)
        try:
            if not (key := await self._result_unless_requeued(ticket, delivery)):
                return
        except DeadError as error:
            await self._reporter.dead(delivery, error.death, ticket)
            self._event_log.dead(ticket, began, error.death)
        else:
            await self._reporter.done(ticket, key)
            self._event_log.done(ticket, began, self.settings.bucket, key)
            if ticket.upload:
                await self._drop_upload(ticket)
        finally:
            telling.cancel()
        delivery.ack()

    async def _result_unless_requeued(self, ticket: Ticket, delivery: Delivery) -> str:
        """Return the key of the result, or nothing where S3 was away for too long. Raises DeadError."""
        while True:
            try:
                return await self._result(ticket, delivery.body, self._outage.deadline())
            except HeldError:
                if await self._requeue(delivery):
                    return ""

    async def _result(self, ticket: Ticket, body: bytes, deadline: float) -> str:
        """Put the grey image into S3 and return its key. Raises DeadError, HeldError."""
        try:
            if not ticket.upload:
                return await self._store(ticket, await self._pool.convert(body, extension(ticket.filename)), deadline)
            if not self.settings.uploads_bucket:
                raise DeadError(_NO_UPLOADS)
            with tempfile.NamedTemporaryFile(dir=self.settings.directory, suffix=".image") as file:
                path = Path(file.name)
                bucket = self.settings.uploads_bucket
                found = await self._outage.retry(lambda: self._objects.download(bucket, ticket.upload, path), deadline)
                if found != ticket.sha256:
                    raise DeadError(_ALTERED)
                return await self._store(ticket, await self._pool.convert(path, extension(ticket.filename)), deadline)
        except BadImage as error:
            raise DeadError(Death(error.code, str(error))) from None
        except MissingError:
            if key := await self._key_of(ticket, deadline):  # the upload is deleted when its result is there
                return key
            raise DeadError(_GONE) from None

    async def _store(self, ticket: Ticket, grey: Grey, deadline: float) -> str:
        """Put the result where there is none; the same image that is there already is as good. Raises DeadError."""
        about = metadata(ticket, grey.width, grey.height, grey.media_type)
        bucket = self.settings.bucket
        for key in result_keys(ticket.filename, ticket.sha256):
            put = partial(self._objects.put_new, bucket, key, grey.data, grey.media_type, about)
            if await self._outage.retry(put, deadline) or await self._holds(key, ticket, deadline):
                return key
        raise DeadError(_TAKEN)

    async def _key_of(self, ticket: Ticket, deadline: float) -> str:
        """Return the key of the result if it is there, else nothing."""
        for key in result_keys(ticket.filename, ticket.sha256):
            if await self._holds(key, ticket, deadline):
                return key
        return ""

    async def _holds(self, key: str, ticket: Ticket, deadline: float) -> bool:
        """Tell whether an object is the grey of these very bytes."""
        try:
            about = await self._outage.retry(lambda: self._objects.metadata(self.settings.bucket, key), deadline)
        except MissingError:
            return False
        return about.get("source-sha256") == ticket.sha256

    async def _drop_upload(self, ticket: Ticket) -> None:
        try:
            await self._objects.delete(self.settings.uploads_bucket, ticket.upload)
        except StorageError as error:
            text = f"{ticket.upload} is left for the bucket to expire: {error}"
            log.record("INFO", "upload_orphaned", text, **named(ticket))
