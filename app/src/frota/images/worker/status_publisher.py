"""What a worker tells the others through the broker: what it works on, what is done, what is dead."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import pika

from frota.core.backoff import Backoff
from frota.images.broker.consumer import Delivery
from frota.images.broker.publisher import NackError, Publisher, UnroutableError
from frota.images.broker.session import BrokerUnavailable
from frota.images.event_log import named
from frota.images.messages import DEAD, EVENTS, REQUEUE, Death, Event, Ticket
from frota.images.worker.outbox import Outbox
from frota.logs import log

_AGAIN_SECONDS = 5.0  # for the broker to confirm a requeued image
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds until the dead are tried again where the broker does not take them


class StatusPublisher:
    """Publishes in the name of a worker; what it owes when it stops is told after its next start."""

    def __init__(self, publisher: Publisher, worker: str, bucket: str, owed: Outbox) -> None:
        self._publisher, self._worker, self._bucket, self._owed = publisher, worker, bucket, owed
        self._later: dict[asyncio.Task[None], Event] = {}

    def tell_owed(self) -> Coroutine[None, None, None]:
        """Begin to tell what was left from before, at once: a stop that follows is to know of it."""
        return self._told(list(map(self._begin, self._owed.read())))

    async def _told(self, telling: "list[asyncio.Task[None]]") -> None:
        if telling:
            await asyncio.gather(*telling)
            self._owed.keep([])

    async def finish(self, seconds: float) -> None:
        """Wait so long for results that are not told yet, unless the broker takes nothing; keep what then is left."""
        telling = [task for task, event in self._later.items() if event.state == "done"]
        if telling and not self._publisher.no_room.is_set():
            await asyncio.wait(telling, timeout=seconds)
        self._owed.keep([self._later[task] for task in telling if task in self._later])

    def working(self, ticket: Ticket) -> None:
        """Tell that work has begun; nobody waits for it."""
        self._begin(self._event(ticket, "working"))

    async def done(self, ticket: Ticket, key: str) -> None:
        """Tell that a result is in S3; return when the broker has it on disk.

        A broker without room takes nothing until the queue is shorter: then the image is let go of first.
        """
        telling = self._begin(self._event(ticket, "done", key, self._bucket))
        full = asyncio.ensure_future(self._publisher.no_room.wait())
        try:
            await asyncio.wait({telling, full}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            full.cancel()

    async def dead(self, delivery: Delivery, death: Death, ticket: Ticket | None = None) -> None:
        """Put an image among the dead, with the reason; return when the broker has it on disk.

        Without a ticket it is a message that is no image of ours.
        """
        given: Mapping[str, Any] = delivery.properties.headers or {}
        headers = {**given, "reason": death.text, "reason-code": death.code, "worker": self._worker}
        properties = pika.BasicProperties(
            message_id=delivery.properties.message_id or "?", delivery_mode=2, headers=headers
        )
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                return await self._publisher.publish(DEAD, "", delivery.body, properties)
            except BrokerUnavailable:
                continue
            except (NackError, UnroutableError) as error:
                text = f"the broker does not take a dead image, trying again: {error!r}"
                log.record("ERROR", "dead_letter_failed", text, **(named(ticket) if ticket else {}))
                await asyncio.sleep(backoff.pause())

    async def again(self, delivery: Delivery) -> bool:
        """Requeue an image without counting a delivery; tell whether the broker confirmed it.

        Handing it back would count as a delivery, and after a few of these it would be dead.
        """
        given = delivery.properties
        headers = {name: value for name, value in (given.headers or {}).items() if not name.startswith("x-")}
        properties = pika.BasicProperties(
            message_id=given.message_id, delivery_mode=2, timestamp=given.timestamp, headers=headers
        )
        try:
            async with asyncio.timeout(_AGAIN_SECONDS):
                await self._publisher.publish(REQUEUE, "", delivery.body, properties)
        except (TimeoutError, BrokerUnavailable, NackError, UnroutableError) as error:
            log.record("WARNING", "requeue_failed", f"an image keeps waiting for S3, or is handed back: {error!r}")
            return False
        return True

    def _event(self, ticket: Ticket, state: str, key: str = "", bucket: str = "") -> Event:
        return Event(ticket.id, state, ticket.filename, ticket.trace, ticket.sha256, self._worker, key, bucket)

    def _begin(self, event: Event) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._tell(event))
        self._later[task] = event
        task.add_done_callback(self._later.pop)
        return task

    async def _tell(self, event: Event) -> None:
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
