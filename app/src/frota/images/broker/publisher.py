"""A publisher with confirms: a confirmed message is on the broker's disks.

Publishers and consumers have a connection each: under a memory or disk alarm the broker stops reading from publishers,
and must still receive the acknowledgements that end the alarm.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pika
from pika.exceptions import AMQPError

from frota.images.broker.session import BrokerConnection, BrokerUnavailable, Session
from frota.images.settings import BrokerConfig


class NackError(Exception):
    """The broker rejected a message because the queue is full, or too many bytes of ours are unconfirmed."""


class UnroutableError(Exception):
    """The broker routed a message to no queue."""


class _Unconfirmed(NamedTuple):
    """A published message without a confirm; `size` in bytes."""

    message_id: str
    size: int
    confirmed: "asyncio.Future[None]"


@dataclass(slots=True)
class _PendingConfirms:
    """The unconfirmed messages of one session, by delivery tag: the broker counts a channel's messages from 1."""

    last_tag: int = 0
    unconfirmed_bytes: int = 0  # cancelled messages count until confirmed: until sent, they occupy memory
    messages: dict[int, _Unconfirmed] = field(default_factory=dict)

    def expect(self, message_id: str, size: int) -> "asyncio.Future[None]":
        """Register a message that is about to be published; return the future of its confirm."""
        self.last_tag += 1
        self.unconfirmed_bytes += size
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.messages[self.last_tag] = _Unconfirmed(message_id, size, confirmed)
        return confirmed

    def confirm(self, frame: Any) -> None:
        """Resolve one message, or all up to it, by an ack or a nack; resolved ones stay as they are."""
        tag, multiple = frame.method.delivery_tag, frame.method.multiple
        error = None if isinstance(frame.method, pika.spec.Basic.Ack) else NackError()
        for each in [known for known in self.messages if known <= tag] if multiple else [tag]:
            if message := self.messages.pop(each, None):
                self.unconfirmed_bytes -= message.size
                _resolve(message.confirmed, error)

    def mark_unroutable(self, message_id: str) -> None:
        """Fail a returned message; the broker confirms it afterwards."""
        for message in self.messages.values():
            if message.message_id == message_id:
                _resolve(message.confirmed, UnroutableError())

    def fail_all(self, reason: str) -> None:
        """Fail all: the session is closed, and no confirm can come."""
        for message in self.messages.values():
            _resolve(message.confirmed, BrokerUnavailable(reason))


def _resolve(confirmed: "asyncio.Future[None]", error: Exception | None) -> None:
    if confirmed.done():
        return
    if error:
        confirmed.set_exception(error)
    else:
        confirmed.set_result(None)


class Publisher(BrokerConnection):
    """Publishes and waits for the confirm, with at most `max_unconfirmed_bytes` unconfirmed."""

    def __init__(
        self,
        config: BrokerConfig,
        prepare: Callable[[Session], Awaitable[None]],
        max_unconfirmed_bytes: float = math.inf,
    ) -> None:
        super().__init__(config, "for publishing", self._open)
        self._prepare_session, self._max_unconfirmed_bytes = prepare, max_unconfirmed_bytes
        self._confirms = _PendingConfirms()

    @property
    def unconfirmed(self) -> int:
        """The number of messages that wait for their confirm."""
        return len(self._confirms.messages)

    async def publish(self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish a message that has a message id; return when it is confirmed. Waits for a connection first.

        Raises BrokerUnavailable (the message may be on the broker or not), NackError, UnroutableError.
        """
        session, confirms = await self.session(), self._confirms
        if confirms.unconfirmed_bytes + len(body) > self._max_unconfirmed_bytes:
            raise NackError
        confirmed = confirms.expect(properties.message_id, len(body))
        try:
            session.channel.basic_publish(exchange, key, body, properties, mandatory=True)
        except AMQPError as error:
            await asyncio.shield(session.closed)  # before that, a retry would get the same channel
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
