"""Publisher confirms: each message is resolved once, by an ack, a nack, a return or a lost connection."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelWrongStateError

from frota.images.broker.publisher import NackError, Publisher, UnroutableError, _PendingConfirms
from frota.images.broker.session import BrokerUnavailable
from frota.images.settings import BrokerConfig


def confirm(tag: int, *, several: bool = False, ack: bool = True) -> Any:
    """Return a frame as pika hands it over."""
    kind = pika.spec.Basic.Ack if ack else pika.spec.Basic.Nack
    return SimpleNamespace(method=kind(tag, several))


async def settled(futures: "list[asyncio.Future[None]]") -> list[Any]:
    """Return what each future holds: None, the class of an error, or "waiting"."""
    return [
        type(future.exception())
        if future.done() and future.exception()
        else future.result()
        if future.done()
        else "waiting"
        for future in futures
    ]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([confirm(2)], ["waiting", None, "waiting"]),
        ([confirm(2, several=True)], [None, None, "waiting"]),
        ([confirm(1, ack=False), confirm(3, several=True)], [NackError, None, None]),
        ([confirm(3, several=True, ack=False)], [NackError, NackError, NackError]),
        ([confirm(9)], ["waiting", "waiting", "waiting"]),
    ],
)
def test_confirm_resolves_its_message_or_all_up_to_it(frames: list[Any], expected: list[Any]) -> None:
    """An ack or nack resolves its delivery tag, or with `multiple` all tags up to it."""

    async def run() -> list[Any]:
        confirms = _PendingConfirms()
        futures = [confirms.expect(name, 1) for name in ("a", "b", "c")]
        for frame in frames:
            confirms.confirm(frame)
        return await settled(futures)

    assert asyncio.run(run()) == expected


def test_returned_message_fails_despite_its_confirm() -> None:
    """A returned message is unroutable although the broker confirms it, and so is its duplicate."""

    async def run() -> list[Any]:
        confirms = _PendingConfirms()
        futures = [confirms.expect(name, 1) for name in ("a", "b", "a")]
        confirms.mark_unroutable("a")
        confirms.confirm(confirm(3, several=True))
        return await settled(futures)

    assert asyncio.run(run()) == [UnroutableError, None, UnroutableError]


def test_lost_connection_fails_unconfirmed_messages() -> None:
    """A lost connection fails the unconfirmed messages only."""

    async def run() -> list[Any]:
        confirms = _PendingConfirms()
        futures = [confirms.expect(name, 1) for name in ("a", "b")]
        confirms.confirm(confirm(1))
        confirms.fail_all("gone")
        return await settled(futures)

    assert asyncio.run(run()) == [None, BrokerUnavailable]


class Channel:
    """Stands in for a channel that takes what is published, or is about to close."""

    def __init__(self, *, closing: bool = False) -> None:
        self.closing = closing
        self.published: list[bytes] = []

    def basic_publish(self, _exchange: str, _key: str, body: bytes, *_: object, **__: object) -> None:
        """Take a message, unless there is no taking any more."""
        if self.closing:
            raise ChannelWrongStateError("Channel is closing.")
        self.published.append(body)


def publisher(channel: Channel, max_unconfirmed_bytes: float = math.inf) -> tuple[Publisher, "asyncio.Future[str]"]:
    """Return a publisher with a session, and what ends that."""

    async def prepare(_session: object) -> None:
        pass

    started = Publisher(BrokerConfig(), prepare, max_unconfirmed_bytes)
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    started._session = SimpleNamespace(channel=channel, closed=over)  # type: ignore[assignment] # as far as it is used
    return started, over


ABOUT = pika.BasicProperties(message_id="a")


def test_cancelled_messages_count_until_confirmed() -> None:
    """A cancelled message counts against the limit of unconfirmed bytes until its confirm."""

    async def run() -> list[bytes]:
        channel = Channel()
        started, _ = publisher(channel, max_unconfirmed_bytes=10)
        given_up = asyncio.ensure_future(started.publish("", "q", b"12345678", ABOUT))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        with pytest.raises(NackError):
            await started.publish("", "q", b"345", ABOUT)
        started._confirms.confirm(confirm(1))
        republished = asyncio.ensure_future(started.publish("", "q", b"678", ABOUT))
        await asyncio.sleep(0)
        started._confirms.confirm(confirm(2))
        await republished
        return channel.published

    assert asyncio.run(run()) == [b"12345678", b"678"]


def test_closing_channel_fails_after_its_session() -> None:
    """Publishing on a closing channel fails only when its session is closed."""

    async def run() -> None:
        started, over = publisher(Channel(closing=True))
        publishing = asyncio.ensure_future(started.publish("", "q", b"", ABOUT))
        await asyncio.wait([publishing], timeout=0.01)
        assert not publishing.done()
        over.set_result("gone")
        with pytest.raises(BrokerUnavailable):
            await publishing

    asyncio.run(run())
