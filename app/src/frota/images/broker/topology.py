"""Declares the queues and exchanges of the pipeline, unless the operator has."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pika.channel import Channel

from frota.images.broker.session import Session
from frota.images.messages import DEAD, EVENTS, QUEUE, REQUEUE

DELIVERY_LIMIT = 5  # of one image; then it is dead-lettered
_QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
_IMAGES = _QUORUM | {
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
# How long a worker may keep an image unacknowledged, such as while S3 is unavailable. The broker's default is half an
# hour; then it closes the consumer's channel, which counts as a delivery of every unacknowledged image.
_CONSUMER_TIMEOUT = {"x-consumer-timeout": 7 * 86_400_000}  # milliseconds
_NO_DELIVERY_LIMIT = _QUORUM | {"x-delivery-limit": -1}


def _declare_images(channel: Channel, callback: Callable[[object], None], arguments: dict[str, Any]) -> None:
    channel.queue_declare(QUEUE, durable=True, arguments=arguments, callback=callback)


async def declare(session: Session, events_queue: str = "") -> None:
    """Declare what is missing; with `events_queue` also the queue of status events. Raises BrokerUnavailable."""
    channel = session.channel
    for exchange in (DEAD, EVENTS, REQUEUE):
        await session.call(channel.exchange_declare, exchange, exchange_type="fanout", durable=True)
    if not await session.accepts(partial(_declare_images, arguments=_IMAGES | _CONSUMER_TIMEOUT)):
        # The queue exists with other arguments, or the broker is too old for this one.
        await session.call(channel.queue_declare, QUEUE, durable=True, arguments=_IMAGES)
    await session.call(channel.queue_bind, QUEUE, REQUEUE)
    await session.call(channel.queue_declare, DEAD, durable=True, arguments=_NO_DELIVERY_LIMIT)
    await session.call(channel.queue_bind, DEAD, DEAD)
    if events_queue:
        await session.call(channel.queue_declare, events_queue, durable=True, arguments=_NO_DELIVERY_LIMIT)
        for exchange in (DEAD, EVENTS):
            await session.call(channel.queue_bind, events_queue, exchange)
