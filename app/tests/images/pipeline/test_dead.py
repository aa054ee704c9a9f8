"""`frota images dead` at a real broker: dead letters are listed, retried or deleted, and never lost."""

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
from support import TIMEOUT_S, start_frota, until
from support.images import CLEAN_ENVIRONMENT, CommandResult, run_images
from support.pipeline import Broker, Pipeline, picture

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


@pytest.fixture
def channel(broker: Broker) -> BlockingChannel:
    """Give a channel to a broker with both queues, where a rejected image is dead-lettered."""
    channel = broker.channel()
    channel.exchange_declare(DEAD, exchange_type="fanout", durable=True)
    channel.queue_declare(QUEUE, durable=True, arguments=QUORUM | {"x-dead-letter-exchange": DEAD})
    channel.queue_declare(DEAD, durable=True, arguments=QUORUM | {"x-delivery-limit": -1})
    channel.queue_bind(DEAD, DEAD)
    channel.confirm_delivery()
    return channel


def dead_letter(channel: BlockingChannel, number: int, body: bytes = b"image", **headers: object) -> str:
    """Dead-letter an image as a worker does; return its id."""
    image = f"{number:032x}"
    about = {"filename": f"{number}.jpg", "size": len(body), "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    properties = pika.BasicProperties(message_id=image, timestamp=1_800_000_000, headers=about | headers)
    channel.basic_publish(DEAD, "", body, properties)
    return image


def dead(broker: Broker, *words: object) -> CommandResult:
    """Run `frota images dead` with arguments."""
    return run_images("dead", *words, "--brokers", f"127.0.0.1:{broker.port}")


def test_dead_letters_are_listed(broker: Broker, channel: BlockingChannel) -> None:
    """Dead letters are listed with their reasons, and stay in their queue."""
    first = dead_letter(channel, 1, b"image", **{"reason": "imagem \x1b[31mtruncada", "reason-code": "truncated"})
    second = dead_letter(channel, 2, upload="uploads/x", size=10**8)
    text = dead(broker, "list")
    json_lines = dead(broker, "list", "--json")
    assert text.lines == [
        f"{first}           5  2027-01-15T08:00:00Z  1.jpg  truncated: imagem \\x1b[31mtruncada",
        f"{second}   100000000  2027-01-15T08:00:00Z  2.jpg  unknown: motivo desconhecido",
    ]
    assert json_lines.objects[0] == {
        "id": first,
        "filename": "1.jpg",
        "size": 5,
        "time": "2027-01-15T08:00:00Z",
        "code": "truncated",
        "reason": "imagem \x1b[31mtruncada",
        "trace_id": "ab" * 16,
    }
    assert (text.status, json_lines.status, broker.count(DEAD)) == (0, 0, 2)


def test_rejected_message_is_listed(broker: Broker, channel: BlockingChannel) -> None:
    """A message that the broker dead-lettered is listed with its reason and time."""
    channel.basic_publish("", QUEUE, b"image", pika.BasicProperties(message_id="a" * 32, headers={"filename": "a.jpg"}))
    method, _, _ = channel.basic_get(QUEUE)
    assert method
    channel.basic_reject(method.delivery_tag, requeue=False)
    until(lambda: broker.count(DEAD) > 0, "the image is dead-lettered")
    (letter,) = dead(broker, "list", "--json").objects
    assert (letter["code"], letter["size"]) == ("rejected", 5)
    assert letter["time"].endswith("Z")


def test_retried_image_is_unchanged(broker: Broker, channel: BlockingChannel) -> None:
    """A retried image is queued without the headers of a dead letter."""
    dead_letter(channel, 1)
    headers: dict[str, Any] = {"reason": "x", "reason-code": "y", "x-death": [], "x-delivery-count": 3, "sha256": "s"}
    image = dead_letter(channel, 2, **headers)
    result = dead(broker, "retry", image)
    ((properties, body),) = broker.take(QUEUE)
    about = {"filename": "2.jpg", "size": 5, "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "sha256": "s"}
    assert (properties.headers, properties.message_id, properties.timestamp) == (about, image, 1_800_000_000)
    assert (properties.delivery_mode, body) == (2, b"image")
    assert (result.status, result.out, broker.count(DEAD)) == (0, f"{image}  2.jpg  queued\n", 1)


def published_statuses(broker: Broker) -> list[tuple[str, str, str]]:
    """Return the published statuses: id, state, reason."""
    events = [StatusEvent.read(body) for _, body in broker.take(EVENTS)]
    return [(event.id, event.state, event.reason) for event in events]


@pytest.fixture
def events_channel(channel: BlockingChannel) -> BlockingChannel:
    """Give a channel to a broker that also has a producer's queue of events."""
    channel.exchange_declare(EVENTS, exchange_type="fanout", durable=True)
    channel.queue_declare(EVENTS, durable=True, arguments=QUORUM)
    channel.queue_bind(EVENTS, EVENTS)
    return channel


def test_retry_publishes_queued(broker: Broker, events_channel: BlockingChannel) -> None:
    """A retry publishes the status of the image: queued."""
    image = dead_letter(events_channel, 1, sha256="ab" * 32, reason="x")
    assert dead(broker, "retry", image).status == 0
    assert published_statuses(broker) == [(image, "queued", "")]


def test_failed_retry_publishes_dead(broker: Broker, events_channel: BlockingChannel) -> None:
    """A retry that fails publishes that the image is still dead."""
    image = dead_letter(events_channel, 1, sha256="ab" * 32, reason="x")
    events_channel.queue_delete(QUEUE)
    assert dead(broker, "retry", image).status == 1
    assert published_statuses(broker) == [(image, "queued", ""), (image, "dead", "x")]
    assert broker.count(DEAD) == 1


def test_retried_image_may_fail_again(pipeline: Pipeline) -> None:
    """A retried image is processed, and may be dead-lettered again."""
    pipeline.serve()
    whole = picture(kind="PNG", size=(500, 500))
    image = pipeline.send("bad.png", whole[:60] + b"\xff" * 40 + whole[100:])
    worker = pipeline.work()
    first = pipeline.final_statuses(image)[image]
    assert worker.stop() == 0
    assert dead(pipeline.broker, "retry", image).status == 0
    until(lambda: pipeline.status(image).state == native.QUEUED, "the image is queued again")
    worker.start()
    second = pipeline.final_statuses(image)[image]
    assert (first.state, second.state, second.reason) == (native.DEAD, native.DEAD, first.reason)
    assert second.changed > first.changed


def test_retry_all_keeps_the_order(broker: Broker, channel: BlockingChannel) -> None:
    """--all retries every image in order, also large ones."""
    ids = [dead_letter(channel, number, bytes(15 * 2**20) if number == 1 else b"") for number in range(3)]
    result = dead(broker, "retry", "--all", "--json")
    assert (
        [letter["id"] for letter in result.objects]
        == [str(properties.message_id) for properties, _ in broker.take(QUEUE)]
        == ids
    )
    assert broker.count(DEAD) == 0


def test_drop_deletes_only_the_given_id(broker: Broker, channel: BlockingChannel) -> None:
    """A drop deletes only the given image."""
    remaining, dropped = dead_letter(channel, 1), dead_letter(channel, 2)
    result = dead(broker, "drop", dropped, "--yes")
    assert (result.status, result.out) == (0, f"{dropped}  2.jpg  dropped\n")
    assert [properties.message_id for properties, _ in broker.take(DEAD)] == [remaining]
    assert broker.count(QUEUE) == 0


def test_drop_all_with_yes(broker: Broker, channel: BlockingChannel) -> None:
    """--all with --yes deletes every dead letter."""
    for number in range(3):
        dead_letter(channel, number)
    assert len(dead(broker, "drop", "--all", "--yes").lines) == 3
    assert broker.count(DEAD) == 0


@pytest.mark.parametrize(("answer", "remaining"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_drop_asks_on_a_terminal(broker: Broker, channel: BlockingChannel, answer: bytes, remaining: int) -> None:
    """On a terminal, a drop asks for a confirmation."""
    dead_letter(channel, 1)
    terminal, stdin = pty.openpty()
    words = ("images", "dead", "drop", "--all", "--brokers", f"127.0.0.1:{broker.port}")
    process = start_frota(*words, stdin=stdin, stdout=subprocess.PIPE, env=CLEAN_ENVIRONMENT)
    os.write(terminal, answer)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    os.close(terminal)
    os.close(stdin)
    assert out.startswith(b"delete all dead images for ever? [y/N] ")
    assert (process.returncode, broker.count(DEAD)) == (remaining, remaining)


def test_unknown_id_does_not_stop_others(broker: Broker, channel: BlockingChannel) -> None:
    """An unknown id fails the command, but not the other images."""
    image = dead_letter(channel, 1)
    result = dead(broker, "retry", "f" * 32, image)
    assert (result.status, result.err) == (1, f"frota: {'f' * 32}: no dead image has this id\n")
    assert broker.count(QUEUE) == 1


def test_full_queue_keeps_dead_letters(broker: Broker, channel: BlockingChannel) -> None:
    """An image that the full queue rejects remains a dead letter."""
    channel.queue_delete(QUEUE)
    full = QUORUM | {"x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare(QUEUE, durable=True, arguments=full)
    for number in range(20):
        dead_letter(channel, number)
    result = dead(broker, "retry", "--all")
    put = len(result.lines)
    assert (result.status, f"queue 'images' is full; {put} were put back, the others are still dead" in result.err) == (
        1,
        True,
    )
    assert broker.count(QUEUE) == put < 20
    assert broker.count(DEAD) == 20 - put


def test_blocked_broker_is_reported(broker: Broker, channel: BlockingChannel) -> None:
    """A broker that accepts no message is reported after the timeout."""
    dead_letter(channel, 1)
    broker.run_ctl("set_vm_memory_high_watermark", "absolute", "1000000")
    try:
        result = dead(broker, "retry", "--all", "--timeout", "0.5")
    finally:
        broker.run_ctl("set_vm_memory_high_watermark", "0.6")
    assert (result.status, "it has no room, and took nothing for 0.5 s" in result.err, result.err.count("\n")) == (
        1,
        True,
        1,
    )
    assert broker.count(DEAD) == 1


def test_retry_without_queue_loses_nothing(broker: Broker, channel: BlockingChannel) -> None:
    """Without the queue, nothing is retried and nothing lost."""
    dead_letter(channel, 1)
    channel.queue_delete(QUEUE)
    result = dead(broker, "retry", "--all")
    assert (result.status, "there is no queue 'images'; 0 were put back" in result.err) == (1, True)
    assert broker.count(DEAD) == 1


def test_missing_dead_letter_queue_is_reported(broker: Broker, channel: BlockingChannel) -> None:
    """A missing dead letter queue is reported in one line."""
    channel.queue_delete(DEAD)
    result = dead(broker, "list")
    assert (result.status, "no queue 'images.dead'" in result.err, result.err.count("\n")) == (1, True, 1)


def test_killed_retry_loses_nothing(broker: Broker, channel: BlockingChannel) -> None:
    """A killed retry may duplicate images, but loses none."""
    ids = {dead_letter(channel, number) for number in range(300)}
    words = ("images", "dead", "retry", "--all", "--brokers", f"127.0.0.1:{broker.port}")
    process = start_frota(*words, stdout=subprocess.PIPE, env=CLEAN_ENVIRONMENT)
    assert process.stdout
    for _ in range(50):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)
    until(lambda: broker.count(DEAD) + broker.count(QUEUE) >= len(ids), "the unconfirmed images are requeued")
    dead_ids = {str(properties.message_id) for properties, _ in broker.take(DEAD)}
    queued_ids = {str(properties.message_id) for properties, _ in broker.take(QUEUE)}
    assert dead_ids | queued_ids == ids
    assert len(queued_ids) >= 50


def test_large_dead_letters_are_listed_one_by_one(broker: Broker, channel: BlockingChannel) -> None:
    """Large dead letters are listed one at a time, in limited memory."""
    for number in range(30):
        dead_letter(channel, number, bytes(15 * 2**20))
    limit = 400 * 2**20  # bytes of address space; all of them together have more
    words = ("images", "dead", "list", "--brokers", f"127.0.0.1:{broker.port}")
    process = start_frota(
        *words,
        stdout=subprocess.PIPE,
        env=CLEAN_ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out.count(b"\n")) == (0, 30)


def test_rejected_login_is_reported(broker: Broker, tmp_path: Path) -> None:
    """A rejected login is reported in one line."""
    (tmp_path / "password").write_text("wrong\n")
    (tmp_path / "password").chmod(0o600)
    for words, text in (
        (["--password-file", tmp_path / "password"], "it does not let guest in"),
        (["--vhost", "nowhere"], "no virtual host 'nowhere', or not for us"),
    ):
        result = dead(broker, "list", *words)
        assert (result.status, text in result.err, result.err.count("\n")) == (1, True, 1)
