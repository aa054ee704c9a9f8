"""`frota images dead` at a real broker: what is dead can be looked at, put back, or dropped, and is never lost."""

import os
import pty
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from frota.images.messages import DEAD, EVENTS, QUEUE, StatusEvent
from frota.images.proto import images_pb2 as native
from support import PATIENCE, frota
from support.images import CLEAN, Ran, images
from support.pipeline import Broker, Pipeline, picture, until

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


@pytest.fixture
def channel(broker: Broker) -> BlockingChannel:
    """Give a channel to a broker with both queues, where an image dies when it is rejected."""
    found = broker.channel()
    found.exchange_declare(DEAD, exchange_type="fanout", durable=True)
    found.queue_declare(QUEUE, durable=True, arguments=QUORUM | {"x-dead-letter-exchange": DEAD})
    found.queue_declare(DEAD, durable=True, arguments=QUORUM | {"x-delivery-limit": -1})
    found.queue_bind(DEAD, DEAD)
    found.confirm_delivery()
    return found


def kill(channel: BlockingChannel, number: int, body: bytes = b"image", **headers: object) -> str:
    """Put an image among the dead as a worker does; return its id."""
    image = f"{number:032x}"
    about = {"filename": f"{number}.jpg", "size": len(body), "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    properties = pika.BasicProperties(message_id=image, timestamp=1_800_000_000, headers=about | headers)
    channel.basic_publish(DEAD, "", body, properties)
    return image


def dead(broker: Broker, *words: object) -> Ran:
    """Run a command."""
    return images("dead", *words, "--brokers", f"127.0.0.1:{broker.port}")


def test_the_dead_are_listed_with_the_reason_and_stay_where_they_are(broker: Broker, channel: BlockingChannel) -> None:
    first = kill(channel, 1, b"image", **{"reason": "imagem \x1b[31mtruncada", "reason-code": "truncated"})
    second = kill(channel, 2, upload="uploads/x", size=10**8)
    people = dead(broker, "list")
    machines = dead(broker, "list", "--json")
    assert people.lines == [
        f"{first}           5  2027-01-15T08:00:00Z  1.jpg  truncated: imagem \\x1b[31mtruncada",
        f"{second}   100000000  2027-01-15T08:00:00Z  2.jpg  unknown: motivo desconhecido",
    ]
    assert machines.objects[0] == {
        "id": first,
        "filename": "1.jpg",
        "size": 5,
        "time": "2027-01-15T08:00:00Z",
        "code": "truncated",
        "reason": "imagem \x1b[31mtruncada",
        "trace_id": "ab" * 16,
    }
    assert (people.status, machines.status, broker.count(DEAD)) == (0, 0, 2)


def test_what_the_broker_gave_up_is_listed_with_its_reason_and_time(broker: Broker, channel: BlockingChannel) -> None:
    channel.basic_publish("", QUEUE, b"image", pika.BasicProperties(message_id="a" * 32, headers={"filename": "a.jpg"}))
    got, _, _ = channel.basic_get(QUEUE)
    assert got
    channel.basic_reject(got.delivery_tag, requeue=False)
    until(lambda: broker.count(DEAD) > 0, "the image is dead-lettered")
    (found,) = dead(broker, "list", "--json").objects
    assert (found["code"], found["size"]) == ("rejected", 5)
    assert found["time"].endswith("Z")


def test_a_retried_image_is_in_the_queue_as_it_was_before_it_died(broker: Broker, channel: BlockingChannel) -> None:
    kill(channel, 1)
    headers: dict[str, Any] = {"reason": "x", "reason-code": "y", "x-death": [], "x-delivery-count": 3, "sha256": "s"}
    image = kill(channel, 2, **headers)
    ran = dead(broker, "retry", image)
    ((properties, body),) = broker.take(QUEUE)
    about = {"filename": "2.jpg", "size": 5, "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "sha256": "s"}
    assert (properties.headers, properties.message_id, properties.timestamp) == (about, image, 1_800_000_000)
    assert (properties.delivery_mode, body) == (2, b"image")
    assert (ran.status, ran.out, broker.count(DEAD)) == (0, f"{image}  2.jpg  queued\n", 1)


def told(broker: Broker) -> list[tuple[str, str, str]]:
    """Return what producers were told: id, state, reason."""
    events = [StatusEvent.read(body) for _, body in broker.take(EVENTS)]
    return [(event.id, event.state, event.reason) for event in events]


@pytest.fixture
def hearing(channel: BlockingChannel) -> BlockingChannel:
    """Give a channel to a broker with a producer's queue of events, too."""
    channel.exchange_declare(EVENTS, exchange_type="fanout", durable=True)
    channel.queue_declare(EVENTS, durable=True, arguments=QUORUM)
    channel.queue_bind(EVENTS, EVENTS)
    return channel


def test_producers_are_told_that_an_image_is_queued_again(broker: Broker, hearing: BlockingChannel) -> None:
    image = kill(hearing, 1, sha256="ab" * 32, reason="x")
    assert dead(broker, "retry", image).status == 0
    assert told(broker) == [(image, "queued", "")]


def test_producers_are_told_that_an_image_is_dead_still_where_the_queue_does_not_take_it(
    broker: Broker, hearing: BlockingChannel
) -> None:
    image = kill(hearing, 1, sha256="ab" * 32, reason="x")
    hearing.queue_delete(QUEUE)
    assert dead(broker, "retry", image).status == 1
    assert told(broker) == [(image, "queued", ""), (image, "dead", "x")]
    assert broker.count(DEAD) == 1


def test_an_image_that_is_retried_is_queued_and_may_die_again(pipeline: Pipeline) -> None:
    pipeline.serve()
    whole = picture(kind="PNG", size=(500, 500))
    image = pipeline.send("bad.png", whole[:60] + b"\xff" * 40 + whole[100:])
    worker = pipeline.work()
    first = pipeline.finals(image)[image]
    assert worker.stop() == 0
    assert dead(pipeline.broker, "retry", image).status == 0
    until(lambda: pipeline.status(image).state == native.QUEUED, "the image is queued again")
    worker.start()
    again = pipeline.finals(image)[image]
    assert (first.state, again.state, again.reason) == (native.DEAD, native.DEAD, first.reason)
    assert again.changed > first.changed


def test_all_are_retried_in_their_order_and_large_ones_too(broker: Broker, channel: BlockingChannel) -> None:
    ids = [kill(channel, number, bytes(15 * 2**20) if number == 1 else b"") for number in range(3)]
    ran = dead(broker, "retry", "--all", "--json")
    assert [one["id"] for one in ran.objects] == [str(one.message_id) for one, _ in broker.take(QUEUE)] == ids
    assert broker.count(DEAD) == 0


def test_only_what_was_named_is_dropped(broker: Broker, channel: BlockingChannel) -> None:
    kept, dropped = kill(channel, 1), kill(channel, 2)
    ran = dead(broker, "drop", dropped, "--yes")
    assert (ran.status, ran.out) == (0, f"{dropped}  2.jpg  dropped\n")
    assert [one.message_id for one, _ in broker.take(DEAD)] == [kept]
    assert broker.count(QUEUE) == 0


def test_all_are_dropped_if_it_is_meant(broker: Broker, channel: BlockingChannel) -> None:
    for number in range(3):
        kill(channel, number)
    assert len(dead(broker, "drop", "--all", "--yes").lines) == 3
    assert broker.count(DEAD) == 0


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_on_a_terminal_people_are_asked_before_anything_is_dropped(
    broker: Broker, channel: BlockingChannel, answer: bytes, left: int
) -> None:
    kill(channel, 1)
    ours, theirs = pty.openpty()
    words = ("images", "dead", "drop", "--all", "--brokers", f"127.0.0.1:{broker.port}")
    process = frota(*words, stdin=theirs, stdout=subprocess.PIPE, env=CLEAN)
    os.write(ours, answer)
    out, _ = process.communicate(timeout=PATIENCE)
    os.close(ours)
    os.close(theirs)
    assert out.startswith(b"delete all dead images for ever? [y/N] ")
    assert (process.returncode, broker.count(DEAD)) == (left, left)


def test_an_id_that_is_not_among_the_dead_fails_the_command_and_not_the_others(
    broker: Broker, channel: BlockingChannel
) -> None:
    image = kill(channel, 1)
    ran = dead(broker, "retry", "f" * 32, image)
    assert (ran.status, ran.err) == (1, f"frota: {'f' * 32}: no dead image has this id\n")
    assert broker.count(QUEUE) == 1


def test_what_the_full_queue_does_not_take_stays_among_the_dead(broker: Broker, channel: BlockingChannel) -> None:
    channel.queue_delete(QUEUE)
    full = QUORUM | {"x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare(QUEUE, durable=True, arguments=full)
    for number in range(20):
        kill(channel, number)
    ran = dead(broker, "retry", "--all")
    put = len(ran.lines)
    assert (ran.status, f"queue 'images' is full; {put} were put back, the others are still dead" in ran.err) == (
        1,
        True,
    )
    assert broker.count(QUEUE) == put < 20
    assert broker.count(DEAD) == 20 - put


def test_a_broker_without_room_is_told_and_not_waited_for_in_silence(broker: Broker, channel: BlockingChannel) -> None:
    kill(channel, 1)
    broker.run_ctl("set_vm_memory_high_watermark", "absolute", "1000000")
    try:
        ran = dead(broker, "retry", "--all", "--timeout", "0.5")
    finally:
        broker.run_ctl("set_vm_memory_high_watermark", "0.6")
    assert (ran.status, "it has no room, and took nothing for 0.5 s" in ran.err, ran.err.count("\n")) == (1, True, 1)
    assert broker.count(DEAD) == 1


def test_without_the_queue_nothing_is_put_back_and_nothing_lost(broker: Broker, channel: BlockingChannel) -> None:
    kill(channel, 1)
    channel.queue_delete(QUEUE)
    ran = dead(broker, "retry", "--all")
    assert (ran.status, "there is no queue 'images'; 0 were put back" in ran.err) == (1, True)
    assert broker.count(DEAD) == 1


def test_without_the_dead_queue_a_sentence_says_so(broker: Broker, channel: BlockingChannel) -> None:
    channel.queue_delete(DEAD)
    ran = dead(broker, "list")
    assert (ran.status, "no queue 'images.dead'" in ran.err, ran.err.count("\n")) == (1, True, 1)


def test_a_retry_that_is_killed_may_double_images_but_loses_none(broker: Broker, channel: BlockingChannel) -> None:
    ids = {kill(channel, number) for number in range(300)}
    words = ("images", "dead", "retry", "--all", "--brokers", f"127.0.0.1:{broker.port}")
    process = frota(*words, stdout=subprocess.PIPE, env=CLEAN)
    assert process.stdout
    for _ in range(50):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    until(lambda: broker.count(DEAD) + broker.count(QUEUE) >= len(ids), "the unconfirmed images are requeued")
    left = {str(one.message_id) for one, _ in broker.take(DEAD)}
    again = {str(one.message_id) for one, _ in broker.take(QUEUE)}
    assert left | again == ids
    assert len(again) >= 50


def test_many_large_ones_are_listed_one_at_a_time(broker: Broker, channel: BlockingChannel) -> None:
    for number in range(30):
        kill(channel, number, bytes(15 * 2**20))
    limit = 400 * 2**20  # bytes of address space; all of them together have more
    words = ("images", "dead", "list", "--brokers", f"127.0.0.1:{broker.port}")
    process = frota(
        *words,
        stdout=subprocess.PIPE,
        env=CLEAN,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.count(b"\n")) == (0, 30)


def test_who_is_not_let_in_is_told_so(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong\n")
    (tmp_path / "password").chmod(0o600)
    for words, text in (
        (["--password-file", tmp_path / "password"], "it does not let guest in"),
        (["--vhost", "nowhere"], "no virtual host 'nowhere', or not for us"),
    ):
        ran = dead(broker, "list", *words)
        assert (ran.status, text in ran.err, ran.err.count("\n")) == (1, True, 1)
