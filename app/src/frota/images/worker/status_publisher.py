"""Publishes a worker's status events, dead letters and requeued images."""

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
from frota.images.worker.outbox import EventOutbox
from frota.logs import log

_REQUEUE_TIMEOUT_S = 5.0  # for the confirm of a requeued image
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0  # between two attempts to dead-letter an image


class StatusPublisher:
    """Publishes in the name of a worker; unpublished `done` events go to the outbox when it stops."""

    def __init__(self, publisher: Publisher, worker: str, bucket: str, outbox: EventOutbox) -> None:
        self._publisher, self._worker, self._bucket, self._outbox = publisher, worker, bucket, outbox
        self._pending: dict[asyncio.Task[None], StatusEvent] = {}

    @property
    def pending(self) -> int:
        """The number of status events that wait for the broker's confirm."""
        return len(self._pending)

    def publish_outbox(self) -> Coroutine[None, None, None]:
        """Start publishing the outbox at once, so that a stop right afterwards puts the rest back."""
        return self._empty_outbox_after(list(map(self._start_publishing, self._outbox.read())))

    async def _empty_outbox_after(self, publishing: "list[asyncio.Task[None]]") -> None:
        if publishing:
            await asyncio.gather(*publishing)
            self._outbox.replace([])

    async def finish(self, seconds: float) -> None:
        """Wait up to `seconds` for pending `done` events, unless the broker blocks; put the rest into the outbox."""
        publishing = [task for task, event in self._pending.items() if event.state == "done"]
        if publishing and not self._publisher.blocked.is_set():
            await asyncio.wait(publishing, timeout=seconds)
        self._outbox.replace([self._pending[task] for task in publishing if task in self._pending])

    def working(self, image: QueuedImage) -> None:
        """Publish that the conversion has begun, without waiting."""
        self._start_publishing(self._event(image, "working"))

    async def done(self, image: QueuedImage, key: str) -> None:
        """Publish that a result is in S3; return when the broker confirmed it.

        Returns at once while the broker blocks publishers: only acknowledging images ends that.
        """
        publishing = self._start_publishing(self._event(image, "done", key, self._bucket))
        full = asyncio.ensure_future(self._publisher.blocked.wait())
        try:
            await asyncio.wait({publishing, full}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            full.cancel()

    async def dead_letter(self, delivery: Delivery, reason: DeadLetterReason, image: QueuedImage | None = None) -> None:
        """Dead-letter an image with the reason; return when the broker confirmed it.

        Without `image` the message is foreign.
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
                text = f"the broker rejects a dead letter, retrying: {error!r}"
                log.record("ERROR", "dead_letter_failed", text, **(image_fields(image) if image else {}))
                await asyncio.sleep(backoff.pause())

    async def requeue(self, delivery: Delivery) -> bool:
        """Publish an image to the queue again; tell whether the broker confirmed it.

        A nack would count as a delivery, and after a few the broker would dead-letter the image.
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
            log.record(
                "WARNING",
                "requeue_failed",
                f"an image could not be requeued; it waits for S3, or the broker redelivers it: {error!r}",
            )
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
            except (NackError, UnroutableError) as error:  # no producer is subscribed
                log.record("DEBUG", "event_unpublished", f"{event.state} of image {event.id}: {error!r}")
                return None
