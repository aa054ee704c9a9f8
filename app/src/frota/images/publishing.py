"""Publishing with confirms: what is confirmed is on the disks of the broker.

Publishers and consumers have a connection each: a broker that runs out of room stops reading from whoever publishes,
and must still hear the acknowledgements that give it room again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.exceptions import AMQPError

from frota.images.broker import AwayError, Link, Session
from frota.images.settings import Broker


class FullError(Exception):
    """The broker did not take a message: its queue is full."""


class UnroutableError(Exception):
    """The broker has no queue for a message."""


@dataclass(slots=True)
class _Confirms:
    """What waits for its confirm in one session: the broker counts the messages of a channel from 1 on."""

    number: int = 0
    waiting: dict[int, tuple[str, "asyncio.Future[None]"]] = field(default_factory=dict)

    def expect(self, message_id: str) -> "tuple[int, asyncio.Future[None]]":
        """Count a message that is about to be published."""
        self.number += 1
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[self.number] = message_id, confirmed
        return self.number, confirmed

    def confirm(self, frame: Any) -> None:
        """Settle one message, or all up to it; those that were settled before stay as they are."""
        last, several = frame.method.delivery_tag, frame.method.multiple
        error = None if isinstance(frame.method, pika.spec.Basic.Ack) else FullError()
        for number in [number for number in self.waiting if number <= last] if several else [last]:
            if number in self.waiting:  # nobody waits any more for one that was given up
                _settle(self.waiting[number][1], error)

    def give_back(self, message_id: str) -> None:
        """Settle a message that no queue wanted; its confirm comes afterwards."""
        for one, confirmed in self.waiting.values():
            if one == message_id:
                _settle(confirmed, UnroutableError())

    def lose(self, reason: str) -> None:
        """Settle all: no confirm comes any more."""
        for _, confirmed in self.waiting.values():
            _settle(confirmed, AwayError(reason))


def _settle(confirmed: "asyncio.Future[None]", error: Exception | None) -> None:
    if confirmed.done():
        return
    if error:
        confirmed.set_exception(error)
    else:
        confirmed.set_result(None)


class Publisher(Link):
    """Publishes, and waits for the confirm."""

    def __init__(self, config: Broker, prepare: Callable[[Session], Awaitable[None]]) -> None:
        super().__init__(config, "for publishing", self._begin)
        self._prepare_more = prepare
        self._confirms = _Confirms()

    async def publish(self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish a message that has a message id; return when it is confirmed. Waits for a broker that is away.

        Raises AwayError (it may be there or not), FullError, UnroutableError.
        """
        session, confirms = await self.session(), self._confirms
        number, confirmed = confirms.expect(properties.message_id)
        try:
            session.channel.basic_publish(exchange, key, body, properties, mandatory=True)
            await confirmed
        except AMQPError as error:
            raise AwayError(str(error) or repr(error)) from None
        finally:
            del confirms.waiting[number]

    async def _begin(self, session: Session) -> None:
        await self._prepare_more(session)
        confirms = self._confirms = _Confirms()
        session.channel.add_on_return_callback(lambda _c, _m, properties, _b: confirms.give_back(properties.message_id))
        await session.call(session.channel.confirm_delivery, confirms.confirm)
        session.over.add_done_callback(lambda over: confirms.lose(over.result()))
