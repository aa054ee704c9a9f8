"""What a worker tells the others through the broker: what it works on, what is done, what is dead."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import pika

from frota.core.backoff import Backoff
from frota.images.broker.consumer import Delivery
from frota.images.broker.publisher import NackError, Publisher, UnroutableError
from frota.images.broker.session import BrokerUnavailable
from frota.images.event_log import image_fields
from frota.images.messages import DEAD, EVENTS, REQUEUE, DeadLetterReason, QueuedImage, StatusEvent
from frota.images.worker.outbox import Outbox
from frota.logs import log

_REQUEUE_TIMEOUT_S = 5.0  # for the broker to confirm a requeued image
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0  # seconds until the dead are tried again where the broker does not take them


class StatusPublisher:
    """Publishes in the name of a worker; what it owes when it stops is told after its next start."""

    def __init__(self, publisher: Publisher, worker: str, bucket: str, outbox: Outbox) -> None:
        self._publisher, self._worker, self._bucket, self._outbox = publisher, worker, bucket, outbox
        self._pending: dict[asyncio.Task[None], StatusEvent] = {}

    def publish_outbox(self) -> Coroutine[None, None, None]:
        """Begin to tell what was left from before, at once: a stop that follows is to know of it."""
        return self._empty_outbox_after(list(map(self._start_publishing, self._outbox.read())))

    async def _empty_outbox_after(self, publishing: "list[asyncio.Task[None]]") -> None:
        if publishing:
            await asyncio.gather(*publishing)
            self._outbox.replace([])

    async def finish(self, seconds: float) -> None:
        """Wait so long for results that are not told yet, unless the broker takes nothing; keep what then is left."""
        publishing = [task for task, event in self._pending.items() if event.state == "done"]
        if publishing and not self._publisher.blocked.is_set():
            await asyncio.wait(publishing, timeout=seconds)
        self._outbox.replace([self._pending[task] for task in publishing if task in self._pending])

    def working(self, image: QueuedImage) -> None:
        """Tell that work has begun; nobody waits for it."""
        self._start_publishing(self._event(image, "working"))

    async def done(self, image: QueuedImage, key: str) -> None:
        """Tell that a result is in S3; return when the broker has it on disk.

        A broker without room takes nothing until the queue is shorter: then the image is let go of first.
        """
        publishing = self._start_publishing(self._event(image, "done", key, self._bucket))
        full = asyncio.ensure_future(self._publisher.blocked.wait())
        try:
            await asyncio.wait({publishing, full}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            full.cancel()

    async def dead_letter(self, delivery: Delivery, reason: DeadLetterReason, image: QueuedImage | None = None) -> None:
        """Put an image among the dead, with the reason; return when the broker has it on disk.

        Without a ticket it is a message that is no image of ours.
        """
        given: Mapping[str, Any] = delivery.properties.headers or {}
        headers = {**given, "reason": reason.text, "reason-code": reason.code, "worker": self._worker}
        properties = pika.BasicProperties(
            message_id=delivery.properties.message_id or "?", delivery_mode=2, headers=headers
        )
        backoff = Backoff(_MIN_BACKOFF_S, _MAX_BACKOFF_S)
        while True:
            try:
                return await self._publisher.publish(DEAD, "", delivery.body, properties)
            except BrokerUnavailable:
                continue
            except (NackError, UnroutableError) as error:
                text = f"the broker does not take a dead image, trying again: {error!r}"
                log.record("ERROR", "dead_letter_failed", text, **(image_fields(image) if image else {}))
                await asyncio.sleep(backoff.pause())

    async def requeue(self, delivery: Delivery) -> bool:
        """Requeue an image without counting a delivery; tell whether the broker confirmed it.

        Handing it back would count as a delivery, and after a few of these it would be dead.
        """
        given = delivery.properties
        headers = {name: value for name, value in (given.headers or {}).items() if not name.startswith("x-")}
        properties = pika.BasicProperties(
            message_id=given.message_id, delivery_mode=2, timestamp=given.timestamp, headers=headers
        )
        try:
            async with asyncio.timeout(_REQUEUE_TIMEOUT_S):
                await self._publisher.publish(REQUEUE, "", delivery.body, properties)
        except (TimeoutError, BrokerUnavailable, NackError, UnroutableError) as error:
            log.record("WARNING", "requeue_failed", f"an image keeps waiting for S3, or is handed back: {error!r}")
            return False
        return True

    def _event(self, image: QueuedImage, state: str, key: str = "", bucket: str = "") -> StatusEvent:
        return StatusEvent(image.id, state, image.filename, image.trace, image.sha256, self._worker, key, bucket)

    def _start_publishing(self, event: StatusEvent) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._publish(event))
        self._pending[task] = event
        task.add_done_callback(self._pending.pop)
        return task

    async def _publish(self, event: StatusEvent) -> None:
        properties = pika.BasicProperties(
            message_id=f"{event.id}-{event.state}", delivery_mode=2, content_type="application/json"
        )
        while True:
            try:
                return await self._publisher.publish(EVENTS, "", event.encode(), properties)
            except BrokerUnavailable:
                continue
            except (NackError, UnroutableError) as error:  # there is no producer that would listen
                log.record("DEBUG", "event_unpublished", f"{event.state} of image {event.id}: {error!r}")
                return None
