"""However long S3 is away, and on whosever broker, no image dies of it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from frota.images.messages import DEAD, QUEUE
from support.pipeline import S3, Broker, Pipeline, picture

LIMIT = 2000  # milliseconds that this broker lets a delivery be held, where half an hour is the default
# Looked at so seldom that it would take minutes: rabbit_channel's own tick.
TICK = (
    f"application:set_env(rabbit, consumer_timeout, {LIMIT}), application:set_env(rabbit, channel_tick_interval, 500)."
)


@pytest.fixture
def impatient(broker: Broker) -> Iterator[Broker]:
    """Give a broker that ends consumers which hold a delivery for seconds."""
    broker.run_ctl("eval", TICK)
    yield broker
    broker.run_ctl("eval", TICK.replace(str(LIMIT), "1800000").replace("500", "60000"))


def hold(broker: Broker) -> None:
    """Take a message, and return when the broker has no more patience with who keeps it."""
    channel = broker.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"held")
    channel.basic_consume(queue, lambda *_: None)
    deadline = time.monotonic() + 120
    while channel.is_open:
        assert time.monotonic() < deadline, "the broker has patience"
        channel.connection.process_data_events(0.2)


def test_an_image_waits_for_s3_for_longer_than_an_impatient_broker_lets_others(
    impatient: Broker, s3: S3, tmp_path: Path
) -> None:
    with Pipeline(impatient, s3, tmp_path) as pipeline:
        pipeline.serve()
        worker = pipeline.work()
        worker.wait_for(f"for {QUEUE}")
        s3.kill()
        images = [pipeline.send(f"{number}.jpg", picture(number)) for number in range(3)]
        worker.wait_for("storage_unavailable|trying again until")
        hold(impatient)
        hold(impatient)
        assert not re.search("broker_lost|connection to .* lost", worker.log())
        s3.start()
        assert {one.state for one in pipeline.finals(*images).values()} == {3}, worker.log()
        assert "lost" not in worker.log()
    assert impatient.count(DEAD) == 0


def test_a_queue_from_before_it_had_a_limit_of_its_own_is_taken_as_it_is(pipeline: Pipeline) -> None:
    channel = pipeline.broker.channel()
    channel.exchange_declare(DEAD, "fanout", durable=True)
    former = {"x-queue-type": "quorum", "x-delivery-limit": 5, "x-overflow": "reject-publish"}
    dead = {"x-dead-letter-exchange": DEAD, "x-dead-letter-strategy": "at-least-once"}
    channel.queue_declare(QUEUE, durable=True, arguments=former | dead)
    pipeline.serve()
    worker = pipeline.work()
    image = pipeline.send("a.jpg", picture())
    assert pipeline.finals(image)[image].state == 3
    assert "broker_lost" not in worker.log()
    assert " lost: " not in worker.log()


def test_workers_that_are_stopped_while_s3_is_away_count_as_no_delivery(pipeline: Pipeline) -> None:
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
    assert {one.state for one in pipeline.finals(*images).values()} == {3}
    assert pipeline.broker.count(DEAD) == 0
