"""Status events: no result in S3 stays unpublished because the worker stops."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pika
import pytest

from frota.images.broker.publisher import NackError, UnroutableError
from frota.images.broker.session import BrokerUnavailable
from frota.images.messages import DeadLetterReason, QueuedImage, StatusEvent
from frota.images.worker.outbox import EventOutbox
from frota.images.worker.status_publisher import StatusPublisher
from frota.logs import log

IMAGES = [QueuedImage(f"{number:032x}", "a.jpg", "b" * 32, "c" * 64, 5) for number in range(3)]


class Broker:
    """Stands in for a publisher: confirms at once, or never."""

    def __init__(self, *, confirms: bool) -> None:
        self.published: list[StatusEvent] = []
        self.blocked = asyncio.Event()
        self._confirms = confirms

    async def publish(self, _exchange: str, _key: str, body: bytes, _properties: pika.BasicProperties) -> None:
        """Take a message, or hold on to it for ever."""
        if not self._confirms:
            await asyncio.Event().wait()
        self.published.append(StatusEvent.read(body))


def reporter(broker: Any, folder: Path) -> StatusPublisher:
    """Return a worker's."""
    return StatusPublisher(broker, "worker-1", "results", EventOutbox(folder))


async def owe(folder: Path) -> None:
    """Stop while a broker without room has not taken what was done."""
    broker = Broker(confirms=False)
    broker.blocked.set()
    stopping = reporter(broker, folder)
    for image in IMAGES:
        stopping.working(image)
        await stopping.done(image, "a_gray.jpg")
    await stopping.finish(60)


def test_outbox_is_published_after_a_restart(tmp_path: Path) -> None:
    """Results that a blocked broker did not accept are published after the next start."""

    async def run() -> list[StatusEvent]:
        await owe(tmp_path)
        broker = Broker(confirms=True)
        await reporter(broker, tmp_path).publish_outbox()
        return broker.published

    published = asyncio.run(run())
    assert [(event.id, event.state, event.key) for event in published] == [
        (image.id, "done", "a_gray.jpg") for image in IMAGES
    ]
    assert list(tmp_path.iterdir()) == []


def test_outbox_is_kept_until_published(tmp_path: Path) -> None:
    """The outbox stays on disk until all its events are confirmed."""

    async def run() -> list[StatusEvent]:
        await owe(tmp_path)
        requeue = reporter(Broker(confirms=False), tmp_path)
        telling = asyncio.ensure_future(requeue.publish_outbox())
        await requeue.finish(0.01)  # before the first step of it is taken
        telling.cancel()
        return EventOutbox(tmp_path).read()

    assert [event.id for event in asyncio.run(run())] == [image.id for image in IMAGES]


def test_published_events_leave_no_outbox(tmp_path: Path) -> None:
    """Events published in time leave no outbox."""

    async def run() -> int:
        broker = Broker(confirms=True)
        stopping = reporter(broker, tmp_path)
        stopping._start_publishing(stopping._event(IMAGES[0], "done"))
        await stopping.finish(60)
        return len(broker.published)

    assert asyncio.run(run()) == 1
    assert list(tmp_path.iterdir()) == []


def test_outbox_limit_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events beyond the outbox's limit, and damaged ones, are logged."""
    records: list[str] = []
    monkeypatch.setattr(log, "record", lambda _level, event, _text, **_: records.append(event))
    events = [StatusEvent(image.id, "done", "a.jpg", image.trace, image.sha256, "worker-1") for image in IMAGES]
    EventOutbox(tmp_path, max_events=2).replace(events)
    assert EventOutbox(tmp_path).read() == events[1:]
    (tmp_path / "outbox").write_bytes(b"garbage\n")
    assert EventOutbox(tmp_path).read() == []
    assert records == ["outbox_failed", "outbox_failed"]


def test_rejected_dead_letter_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter that the broker rejects is retried, and logged with its trace id."""
    records: list[dict[str, object]] = []
    monkeypatch.setattr(log, "record", lambda _level, event, _text, **more: records.append({"event": event} | more))

    class Full:
        outcomes: ClassVar[list[Exception]] = [NackError()]

        async def publish(self, *_: object) -> None:
            if self.outcomes:
                raise self.outcomes.pop()

    delivery: Any = SimpleNamespace(properties=pika.BasicProperties(message_id=IMAGES[0].id), body=b"")
    asyncio.run(reporter(Full(), tmp_path).dead_letter(delivery, DeadLetterReason("damaged", "danificada"), IMAGES[0]))
    about = {"IMAGE_ID": IMAGES[0].id, "TRACE_ID": IMAGES[0].trace, "FILENAME": "a.jpg"}
    assert records == [{"event": "dead_letter_failed"} | about]


class Taking(Broker):
    """Stands in for a publisher, and keeps what it is given as it is."""

    def __init__(self, *refusals: Exception) -> None:
        super().__init__(confirms=True)
        self.refusals, self.kept = list(refusals), list[tuple[str, str, bytes, pika.BasicProperties]]()

    async def publish(self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Refuse as often as there are refusals, then take everything."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.kept.append((exchange, key, body, properties))


def test_requeue_resets_the_delivery_count(tmp_path: Path) -> None:
    """A requeued image has no headers of former deliveries."""
    image = QueuedImage("a" * 32, "a.jpg", "b" * 32, "c" * 64, 5)
    headers = image.headers()
    counted = headers | {"x-delivery-count": 3, "x-death": [{"reason": "rejected"}]}
    properties = pika.BasicProperties(message_id=image.id, delivery_mode=2, timestamp=77, headers=counted)
    delivery: Any = SimpleNamespace(properties=properties, body=b"image")
    broker = Taking()
    assert asyncio.run(reporter(broker, tmp_path).requeue(delivery))
    ((exchange, key, body, sent),) = broker.kept
    assert (exchange, key, body) == ("images.requeue", "", b"image")
    assert (sent.message_id, sent.delivery_mode, sent.timestamp) == (image.id, 2, 77)
    assert QueuedImage.read(sent.message_id, sent.headers) == image
    assert sent.headers == headers


@pytest.mark.parametrize("refusal", [NackError(), UnroutableError(), BrokerUnavailable("ACCESS_REFUSED")], ids=repr)
def test_failed_requeue_is_reported(refusal: Exception, tmp_path: Path) -> None:
    """Requeuing returns False if the broker does not confirm."""
    delivery: Any = SimpleNamespace(properties=pika.BasicProperties(message_id="1", headers={}), body=b"image")
    broker = Taking(refusal)
    assert not asyncio.run(reporter(broker, tmp_path).requeue(delivery))
    assert not broker.kept
