"""The queues and exchanges of the pipeline, for a broker on which nobody else has made them."""

from typing import Any

from frota.images.broker import Session
from frota.images.messages import DEAD, EVENTS, QUEUE

DELIVERIES = 5  # of one image; then it is dead
_QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
_IMAGES = _QUORUM | {
    "x-delivery-limit": DELIVERIES,
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
_FOR_EVER = _QUORUM | {"x-delivery-limit": -1}


async def declare(session: Session, events_queue: str = "") -> None:
    """Make what is not there yet; with the queue in which a producer hears of its images. Raises AwayError."""
    channel = session.channel
    for exchange in (DEAD, EVENTS):
        await session.call(channel.exchange_declare, exchange, exchange_type="fanout", durable=True)
    await session.call(channel.queue_declare, QUEUE, durable=True, arguments=_IMAGES)
    await session.call(channel.queue_declare, DEAD, durable=True, arguments=_FOR_EVER)
    await session.call(channel.queue_bind, DEAD, DEAD)
    if events_queue:
        await session.call(channel.queue_declare, events_queue, durable=True, arguments=_FOR_EVER)
        for exchange in (DEAD, EVENTS):
            await session.call(channel.queue_bind, events_queue, exchange)
