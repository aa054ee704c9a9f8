"""Sessions that close at any moment: the connection counts as lost, and is opened again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelWrongStateError

from frota.images.broker import session as broker
from frota.images.broker.consumer import Delivery
from frota.images.broker.session import BrokerConnection, BrokerUnavailable, Session
from frota.images.settings import BrokerConfig


def closing(*_: object, **__: object) -> None:
    """Do as a channel that is about to close does with whatever it is asked."""
    raise ChannelWrongStateError("Channel is closing.")


class Connection:
    """Stands in for a connection; `ends` tells whether the broker hears that it is closed."""

    def __init__(self, *, ends: bool = True) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed, self._ends = 0, ends

    def close(self) -> None:
        """Close."""
        self.closed += 1
        if self._ends:
            self.over.set_result("closed")

    def add_on_connection_blocked_callback(self, _: object) -> None:
        """Never be blocked."""

    add_on_connection_unblocked_callback = add_on_connection_blocked_callback


def session(connection: Connection) -> Session:
    """Return a session whose channel is about to close."""
    channel: Any = SimpleNamespace(basic_ack=closing, basic_qos=closing)
    return Session(connection, channel, connection.over)


def test_closing_channel_is_unavailable() -> None:
    """A call on a closing channel raises BrokerUnavailable, and an ack is dropped."""

    async def run() -> None:
        opened = session(Connection())
        with pytest.raises(BrokerUnavailable, match="closing"):
            await opened.call(opened.channel.basic_qos)
        Delivery(opened, 1, "", pika.BasicProperties(), b"").ack()

    asyncio.run(run())


def test_session_that_fails_to_prepare_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session that closes during its preparation is closed, and counts as no connection."""

    async def run() -> tuple[bool, int]:
        connection = Connection()

        async def connect(_: object) -> Session:
            return session(connection)

        async def prepare(_: object) -> None:
            closing()

        monkeypatch.setattr(broker, "connect", connect)
        return await BrokerConnection(BrokerConfig(), "for a test", prepare)._connect_once(), connection.closed

    assert asyncio.run(run()) == (False, 1)


def test_close_does_not_wait_for_a_blocked_broker() -> None:
    """Closing a session does not wait for a broker that reads nothing."""

    async def run() -> bool:
        connection = Connection(ends=False)
        async with asyncio.timeout(10):
            await session(connection).close(timeout_s=0.01)
        return connection.over.done()

    assert not asyncio.run(run())
