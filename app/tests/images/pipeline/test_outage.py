"""An outage of S3, however long, dead-letters no image, on any broker."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from frota.images.messages import DEAD, QUEUE
from support.pipeline import S3, Broker, Pipeline, picture

TIMEOUT_MS = 2000  # consumer timeout; the default is half an hour
# RabbitMQ checks the timeout at a tick of its channels, by default once a minute.
SHORT_TIMEOUT = (
    f"application:set_env(rabbit, consumer_timeout, {TIMEOUT_MS}),"
    " application:set_env(rabbit, channel_tick_interval, 500)."
)


@pytest.fixture
def short_timeout_broker(broker: Broker) -> Iterator[Broker]:
    """Give a broker with a consumer timeout of seconds."""
    broker.run_ctl("eval", SHORT_TIMEOUT)
    yield broker
    broker.run_ctl("eval", SHORT_TIMEOUT.replace(str(TIMEOUT_MS), "1800000").replace("500", "60000"))


def hold(broker: Broker) -> None:
    """Hold a delivery until the broker closes the channel at its consumer timeout."""
    channel = broker.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"unacknowledged")
    channel.basic_consume(queue, lambda *_: None)
    deadline = time.monotonic() + 120
    while channel.is_open:
        assert time.monotonic() < deadline, "the broker does not enforce its consumer timeout"
        channel.connection.process_data_events(0.2)


def test_image_outlives_the_consumer_timeout(short_timeout_broker: Broker, s3: S3, tmp_path: Path) -> None:
    """An image waits for S3 longer than the broker's consumer timeout."""
    with Pipeline(short_timeout_broker, s3, tmp_path) as pipeline:
        pipeline.serve()
        worker = pipeline.work()
        worker.wait_for(f"for {QUEUE}")
        s3.kill()
        images = [pipeline.send(f"{number}.jpg", picture(number)) for number in range(3)]
        worker.wait_for("storage_unavailable|trying again until")
        hold(short_timeout_broker)
        hold(short_timeout_broker)
        assert not re.search("broker_lost|connection to .* lost", worker.log())
        s3.start()
        assert {status.state for status in pipeline.final_statuses(*images).values()} == {3}, worker.log()
        assert "lost" not in worker.log()
    assert short_timeout_broker.count(DEAD) == 0


def test_queue_of_the_former_release_is_used(pipeline: Pipeline) -> None:
    """A queue with the arguments of a former release is used as it is."""
    channel = pipeline.broker.channel()
    channel.exchange_declare(DEAD, "fanout", durable=True)
    former = {"x-queue-type": "quorum", "x-delivery-limit": 5, "x-overflow": "reject-publish"}
    dead = {"x-dead-letter-exchange": DEAD, "x-dead-letter-strategy": "at-least-once"}
    channel.queue_declare(QUEUE, durable=True, arguments=former | dead)
    pipeline.serve()
    worker = pipeline.work()
    image = pipeline.send("a.jpg", picture())
    assert pipeline.final_statuses(image)[image].state == 3
    assert "broker_lost" not in worker.log()
    assert " lost: " not in worker.log()


def test_stopped_workers_count_as_no_delivery(pipeline: Pipeline) -> None:
    """Workers that stop while S3 is unavailable do not count as deliveries."""
    pipeline.serve()
    pipeline.s3.kill()
    images = [pipeline.send(f"{number}.jpg", picture(number)) for number in range(4)]
    for _ in range(6):
        worker = pipeline.work()
        worker.wait_for("trying again until")
        assert worker.stop() == 0
    assert pipeline.broker.count(QUEUE) == 4
    pipeline.s3.start()
    pipeline.work()
    assert {status.state for status in pipeline.final_statuses(*images).values()} == {3}
    assert pipeline.broker.count(DEAD) == 0
