"""A consumer: delivers messages of a queue, each acknowledged in the session that delivered it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import pika
from pika.channel import Channel
from pika.exceptions import AMQPError

from frota.images.broker.session import BrokerConnection, BrokerUnavailable, Session, settle
from frota.images.settings import BrokerConfig


class Delivery(NamedTuple):
    """A message, and the session in which to acknowledge it."""

    session: "Session"
    tag: int
    exchange: str
    properties: pika.BasicProperties
    body: bytes

    def ack(self) -> None:
        """Acknowledge the message. In a session that is closed or closing, the broker redelivers it instead."""
        if not self.session.closed.done():
            with suppress(AMQPError):
                self.session.channel.basic_ack(self.tag)


class Consumer(BrokerConnection):
    """Consumes a queue, with at most `prefetch` messages unacknowledged."""

    def __init__(
        self,
        config: BrokerConfig,
        queue: str,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
        prepare: Callable[[Session], Awaitable[None]],
    ) -> None:
        super().__init__(config, f"for {queue}", self._open)
        self._queue, self._prefetch, self._on_delivery, self._prepare_session = queue, prefetch, on_delivery, prepare
        self._consumer: str | None = None

    async def cancel(self) -> None:
        """Stop consuming. Messages delivered so far can still be acknowledged."""
        if self._session and self.connected and self._consumer:
            with suppress(BrokerUnavailable, AMQPError):
                await self._session.call(self._session.channel.basic_cancel, self._consumer)

    async def _open(self, session: Session) -> None:
        await self._prepare_session(session)
        # The broker cancels the consumers of a queue that is deleted or has lost its leader.
        session.channel.add_on_cancel_callback(lambda _: session.connection.close())
        await session.call(session.channel.basic_qos, prefetch_count=self._prefetch)

        def deliver(_channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            self._on_delivery(Delivery(session, method.delivery_tag, method.exchange, properties, body))

        answer = asyncio.get_running_loop().create_future()
        self._consumer = session.channel.basic_consume(self._queue, deliver, callback=partial(settle, answer))
        await asyncio.wait({answer, session.closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise BrokerUnavailable(session.closed.result())
