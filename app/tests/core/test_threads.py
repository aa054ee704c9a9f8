"""Threads run work as an executor does, but keep no process alive."""

import os
import signal
import socket
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import grpc
import pytest

from frota.core.threads import Threads
from frota.images.messages import NATIVE_SERVICE
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S
from support.pipeline import Producer, picture


def test_work_runs_in_the_given_threads() -> None:
    """Work runs in the given number of threads, and its errors reach the caller."""
    threads, meeting = Threads(2, "two"), threading.Barrier(2)
    assert [future.result(TIMEOUT_S) for future in [threads.submit(meeting.wait, TIMEOUT_S) for _ in range(4)]]
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(TIMEOUT_S)
    assert sum(thread.name.startswith("two-") for thread in threading.enumerate()) == 2
    threads.close()


def test_close_cancels_only_queued_work() -> None:
    """Closing cancels queued work, and lets running work finish."""
    threads, release = Threads(1, "one"), threading.Event()
    running, queued = threads.submit(release.wait, TIMEOUT_S), threads.submit(release.wait, TIMEOUT_S)
    while not running.running():
        os.sched_yield()
    threads.close()
    with pytest.raises(CancelledError):
        queued.result(TIMEOUT_S)
    release.set()
    assert running.result(TIMEOUT_S)


def test_producer_stops_while_s3_does_not_respond(tmp_path: Path) -> None:
    """A producer stops although S3 does not respond to an upload."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT_S)
        s3 = ["--s3-endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}", "--uploads-bucket", "uploads"]
        environ = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        producer = Producer(tmp_path, "--brokers", "127.0.0.1:1", *s3, env=environ)
        with grpc.insecure_channel(f"127.0.0.1:{producer.port}") as channel:
            upload = channel.stream_unary(
                f"/{NATIVE_SERVICE}/Upload", native.UploadPart.SerializeToString, native.Accepted.FromString
            )
            header = native.UploadPart(header=native.UploadHeader(filename="a.jpg", size=len(picture())))
            call = upload.future(iter([header, native.UploadPart(data=picture())]), timeout=TIMEOUT_S * 2)
            connection, _ = silent.accept()
            producer.process.send_signal(signal.SIGTERM)
            # the timeout of S3 is much longer than this
            assert producer.process.wait(TIMEOUT_S) == 0, producer.log()
            call.cancel()
            connection.close()
