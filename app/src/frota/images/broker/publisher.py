"""Publishing with confirms: what is confirmed is on the disks of the broker.

Publishers and consumers have a connection each: a broker that runs out of room stops reading from whoever publishes,
and must still hear the acknowledgements that give it room again.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pika
from pika.exceptions import AMQPError

from frota.images.broker.session import BrokerConnection, BrokerUnavailable, Session
from frota.images.settings import BrokerSettings


class NackError(Exception):
    """The broker does not take a message: its queue is full, or too much of ours is on its way there already."""


class UnroutableError(Exception):
    """The broker has no queue for a message."""


class _Unconfirmed(NamedTuple):
    """A message whose confirm has not come; `size` in bytes."""

    message_id: str
    size: int
    confirmed: "asyncio.Future[None]"


@dataclass(slots=True)
class _PendingConfirms:
    """What waits for its confirm in one session: the broker counts the messages of a channel from 1 on."""

    number: int = 0
    unconfirmed: int = 0  # bytes; also of messages that were given up, for until they are sent they are in our memory
    waiting: dict[int, _Unconfirmed] = field(default_factory=dict)

    def expect(self, message_id: str, size: int) -> "asyncio.Future[None]":
        """Count a message that is about to be published."""
        self.number += 1
        self.unconfirmed += size
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[self.number] = _Unconfirmed(message_id, size, confirmed)
        return confirmed

    def confirm(self, frame: Any) -> None:
        """Settle one message, or all up to it; those that were settled before stay as they are."""
        last, several = frame.method.delivery_tag, frame.method.multiple
        error = None if isinstance(frame.method, pika.spec.Basic.Ack) else NackError()
        for number in [number for number in self.waiting if number <= last] if several else [last]:
            if sent := self.waiting.pop(number, None):
                self.unconfirmed -= sent.size
                _settle(sent.confirmed, error)

    def mark_unroutable(self, message_id: str) -> None:
        """Settle a message that no queue wanted; its confirm comes afterwards."""
        for sent in self.waiting.values():
            if sent.message_id == message_id:
                _settle(sent.confirmed, UnroutableError())

    def fail_all(self, reason: str) -> None:
        """Settle all: no confirm comes any more."""
        for sent in self.waiting.values():
            _settle(sent.confirmed, BrokerUnavailable(reason))


def _settle(confirmed: "asyncio.Future[None]", error: Exception | None) -> None:
    if confirmed.done():
        return
    if error:
        confirmed.set_exception(error)
    else:
        confirmed.set_result(None)


class Publisher(BrokerConnection):
    """Publishes, and waits for the confirm; at most so many bytes at a time have none yet."""

    def __init__(
        self,
        config: BrokerSettings,
        prepare: Callable[[Session], Awaitable[None]],
        max_unconfirmed_bytes: float = math.inf,
    ) -> None:
        super().__init__(config, "for publishing", self._open)
        self._prepare_session, self._max_unconfirmed_bytes = prepare, max_unconfirmed_bytes
        self._confirms = _PendingConfirms()

    async def publish(self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish a message that has a message id; return when it is confirmed. Waits for a broker that is away.

        Raises BrokerUnavailable (it may be there or not), NackError, UnroutableError.
        """
        session, confirms = await self.session(), self._confirms
        if confirms.unconfirmed + len(body) > self._max_unconfirmed_bytes:
            raise NackError
        confirmed = confirms.expect(properties.message_id, len(body))
        try:
            session.channel.basic_publish(exchange, key, body, properties, mandatory=True)
        except AMQPError as error:
            await asyncio.shield(session.closed)  # until then, the next try would meet the same channel
            raise BrokerUnavailable(str(error) or repr(error)) from None
        await confirmed

    async def _open(self, session: Session) -> None:
        await self._prepare_session(session)
        confirms = self._confirms = _PendingConfirms()
        session.channel.add_on_return_callback(
            lambda _c, _m, properties, _b: confirms.mark_unroutable(properties.message_id)
        )
        await session.call(session.channel.confirm_delivery, confirms.confirm)
        session.closed.add_done_callback(lambda closed: confirms.fail_all(closed.result()))
