"""Failures of any process: each accepted image is in S3 once, or dead-lettered; no client waits for ever."""

import random
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import pytest

from frota.images.client.client import MAX_MESSAGE_BYTES
from frota.images.messages import DEAD, QUEUE, QueuedImage, dead_letter_reason
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S, until
from support.pipeline import S3, Broker, Pipeline, Producer, digest, picture

UPLOADED = (5, 25)  # of forty images, uploaded like those that are too large for the queue


def test_kills_neither_lose_nor_duplicate_images(pipeline: Pipeline) -> None:
    """Kills of workers, broker, producer and S3 lose no image and duplicate none."""
    pipeline.serve()
    for _ in range(2):
        pipeline.work()
    accepted: dict[str, str] = {}
    stop = threading.Event()
    with ThreadPoolExecutor(9) as threads:
        killer = threads.submit(kill_all, pipeline)
        clients = [threads.submit(send_forty, pipeline, number, accepted, stop) for number in range(8)]
        try:
            for future in (killer, *clients):
                future.result(300)
        finally:
            stop.set()
    assert len(accepted) == 320
    dead: set[str] = set()

    def all_are_stored() -> bool:
        dead.update(str((properties.headers or {})["sha256"]) for properties, _ in pipeline.broker.take(DEAD))
        return len(pipeline.s3.names()) + len(dead) >= len(accepted)

    until(all_are_stored, "every image is in S3 or dead", 200)
    results = Counter(pipeline.s3.metadata(key)["source-sha256"] for key in pipeline.s3.names())
    assert set(accepted) - set(results) - dead == set()
    uploaded = {f"{client}-{count}_gray.png" for client in range(8) for count in UPLOADED}
    assert uploaded & set(pipeline.s3.names()) != set()
    assert [digest for digest, count in results.items() if count > 1] == []


def send_forty(pipeline: Pipeline, client: int, accepted: dict[str, str], stop: threading.Event) -> None:
    """Send forty images as a persistent client does: with the same id, until it is accepted."""
    for count in range(40):
        number, image, name = 1000 * client + count, uuid4().hex, f"{client}-{count}"
        data, uploaded = picture(number), count in UPLOADED
        if uploaded:
            # Only one client sends large files, to limit the duration.
            data = picture(number, kind="PNG") + bytes(0 if client else MAX_MESSAGE_BYTES)
        while not stop.is_set():
            try:
                if uploaded:
                    accepted[digest(data)] = pipeline.upload(f"{name}.png", data, image=image)
                else:
                    accepted[digest(data)] = pipeline.send(f"{name}.jpg", data, image, timeout=5)
                break
            except grpc.RpcError:
                continue


def kill_all(pipeline: Pipeline) -> None:
    """Kill every process once, the workers several times, each while images are being processed."""
    others: dict[int, S3 | Broker | Producer] = {1: pipeline.s3, 3: pipeline.broker, 5: pipeline.producer}
    for turn in range(6):
        worker = pipeline.workers[turn % 2]
        worker.wait_for("processada")
        worker.kill()
        worker.start()
        if turn in others:
            others[turn].kill()
            others[turn].start()


def test_unavailable_broker_is_reported_in_time(pipeline: Pipeline) -> None:
    """An unavailable broker is reported before the deadline, then reconnected."""
    producer = pipeline.serve()
    pipeline.broker.kill()
    producer.wait_for("broker_lost|lost:")
    with pytest.raises(grpc.RpcError, match="fila indisponível") as error:
        pipeline.send("a.jpg", picture(), timeout=3)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE  # not DEADLINE_EXCEEDED
    pipeline.broker.start()
    assert pipeline.send("a.jpg", picture())
    assert pipeline.broker.count(QUEUE) == 1


def test_full_queue_is_reported(pipeline: Pipeline) -> None:
    """A full queue is reported as such, and accepts images again once it has space."""
    pipeline.serve()
    pipeline.broker.run_ctl("set_policy", "--apply-to", "queues", "full", "^images$", '{"max-length": 2}')
    try:
        codes = []
        for colour in range(20):
            try:
                pipeline.send(f"{colour}.jpg", picture(colour))
            except grpc.RpcError as error:
                codes.append((error.code(), error.details()))
        assert set(codes) == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "fila cheia, tente mais tarde")}
        assert pipeline.broker.count(QUEUE) == 20 - len(codes)
    finally:
        pipeline.broker.run_ctl("clear_policy", "full")
    pipeline.work()
    image = pipeline.send("more.jpg", picture(99))
    assert pipeline.final_statuses(image)[image].state == native.DONE


def test_broker_without_memory_lets_workers_finish(pipeline: Pipeline) -> None:
    """A broker without memory accepts no image, but workers finish and report it later."""
    producer = pipeline.serve()
    images = [pipeline.send(f"{colour}.jpg", picture(colour)) for colour in range(30)]
    pipeline.broker.run_ctl("set_vm_memory_high_watermark", "absolute", "1000000")
    try:
        with pytest.raises(grpc.RpcError, match="fila indisponível"):
            pipeline.send("no.jpg", picture(99), timeout=3)
        producer.wait_for("has no room")
        with pytest.raises(grpc.RpcError, match="fila cheia"):  # without a timeout: the producer did not read it
            pipeline.send("no.jpg", picture(98))
        pipeline.work()
        pipeline.workers[0].wait_for("29.jpg processada")
        until(lambda: pipeline.broker.count(QUEUE) == 0, "the queue is empty")
        assert pipeline.workers[0].stop() == 0
    finally:
        pipeline.broker.run_ctl("set_vm_memory_high_watermark", "0.6")
    pipeline.workers[0].start()
    assert {status.state for status in pipeline.final_statuses(*images).values()} == {native.DONE}


def test_images_wait_for_s3(pipeline: Pipeline) -> None:
    """While S3 is unavailable, images wait and none is dead-lettered."""
    pipeline.serve()
    worker = pipeline.work()
    pipeline.s3.kill()
    images = [pipeline.send(f"{colour}.jpg", picture(colour)) for colour in range(12)]
    worker.wait_for("trying again until it answers")
    until(lambda: pipeline.status(images[0]).state == native.WORKING, "the status is not WORKING")
    pipeline.s3.start()
    assert {status.state for status in pipeline.final_statuses(*images).values()} == {native.DONE}
    assert worker.log().count("trying again until it answers") == 1
    assert len(pipeline.s3.names()) == 12


def test_sixth_delivery_is_dead_lettered(pipeline: Pipeline) -> None:
    """An image that five deliveries did not finish is dead-lettered, with its status."""
    pipeline.serve()
    image = pipeline.send("deadly.jpg", picture())
    for _ in range(6):
        channel = pipeline.broker.channel()
        method, properties, _body = next(channel.consume(QUEUE, inactivity_timeout=TIMEOUT_S))
        assert method is not None
        assert properties.message_id == image
        channel.connection.close()
    final = pipeline.final_statuses(image)[image]
    assert (final.state, final.reason) == (
        native.DEAD,
        "entregue vezes demais: nenhum trabalhador que a recebeu chegou ao fim",
    )
    [(properties, body)] = pipeline.broker.take(DEAD)
    assert body == picture()
    assert QueuedImage.read(properties.message_id, properties.headers).filename == "deadly.jpg"
    assert dead_letter_reason(properties.headers).code == "delivery_limit"


def test_stopping_worker_requeues_the_rest(pipeline: Pipeline) -> None:
    """A stopping worker finishes its current images, and requeues the others."""
    pipeline.serve()
    images = [pipeline.send(f"{colour}.png", picture(colour, (3000, 2000), "PNG")) for colour in range(30)]
    worker = pipeline.work("--converters", 1)
    worker.wait_for("0.png processada")
    assert worker.stop() == 0
    done = len(pipeline.s3.names())
    assert done < 30, "the worker finished all images before it stopped"
    until(lambda: pipeline.broker.count(QUEUE) == 30 - done, f"{done} are done, the others queued again")
    pipeline.work()
    assert {status.state for status in pipeline.final_statuses(*images).values()} == {native.DONE}


def test_foreign_message_is_dead_lettered(pipeline: Pipeline) -> None:
    """A message that is no image is dead-lettered."""
    pipeline.serve()
    channel = pipeline.broker.channel()
    channel.basic_publish("", QUEUE, b"hello")
    worker = pipeline.work()
    worker.wait_for("a foreign message is dead-lettered")
    until(lambda: pipeline.broker.count(DEAD) == 1, "it is there")
    [(properties, body)] = pipeline.broker.take(DEAD)
    assert (body, (properties.headers or {})["reason-code"]) == (b"hello", "foreign")


def test_status_survives_a_kill(pipeline: Pipeline) -> None:
    """The status of an image survives a kill of the producer."""
    producer = pipeline.serve()
    pipeline.work()
    queued = pipeline.send("a.jpg", picture(1))
    pipeline.final_statuses(queued)
    producer.kill()
    producer.start()
    assert pipeline.status(queued).state == native.DONE


def test_many_large_images_take_limited_memory(pipeline: Pipeline) -> None:
    """Many large images at once wait in their clients, not in the producer's memory."""
    producer = pipeline.serve("--memory-limit-bytes", 64 * 2**20, fresh=True)
    large = picture() + random.Random(1).randbytes(14 * 2**20)
    peak, stop = [0], threading.Event()

    def monitor() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], producer.rss_kib())

    def send(number: int) -> None:
        with grpc.insecure_channel(
            f"127.0.0.1:{producer.port}",
            options=[("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)],
        ) as channel:
            call = channel.unary_unary(
                "/frota.images.Images/Send", native.SendRequest.SerializeToString, native.Accepted.FromString
            )
            call(native.SendRequest(filename=f"{number}.jpg", image_data=large), timeout=200)

    monitoring = threading.Thread(target=monitor)
    monitoring.start()
    try:
        with ThreadPoolExecutor(24) as threads:
            list(threads.map(send, range(24)))
    finally:
        stop.set()
        monitoring.join()
    assert pipeline.broker.count(QUEUE) == 24
    assert 0 < peak[0] < 330 * 1024, f"{peak[0] // 1024} MiB"


def test_unfinished_messages_block_nobody(pipeline: Pipeline) -> None:
    """Clients that never finish their messages do not block others."""
    producer = pipeline.serve("--memory-limit-bytes", 32 * 2**20, "--publish-timeout", 2)
    unfinished = [half_a_message(producer.port) for _ in range(6)]
    try:
        assert pipeline.send("a.jpg", picture())
    finally:
        for connection in unfinished:
            connection.close()


def half_a_message(port: int) -> socket.socket:
    """Begin a call as HTTP/2 has it, announce a message of 10 MiB, and send nothing of it."""
    connection = socket.create_connection(("127.0.0.1", port))
    headers = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/cloudimg.ImageService/SendImage"),
            (b":authority", b"x"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        + len(headers).to_bytes(3, "big")
        + b"\x01\x04\x00\x00\x00\x01"
        + headers
        + b"\x00\x00\x05\x00\x00\x00\x00\x00\x01\x00"
        + (10 * 2**20).to_bytes(4, "big")
    )
    return connection
