"""The worker's metrics."""

import asyncio
import os
import time
from pathlib import Path

from frota.images.event_log import WorkerEventLog
from frota.images.messages import DeadLetterReason, QueuedImage
from frota.images.s3.bucket import StorageError
from frota.images.worker.s3_retry import S3Retry
from support import reserved_port
from support.pipeline import Worker
from support.prometheus import get, scrape

IMAGE = QueuedImage("a" * 32, "a.jpg", "b" * 32, "c" * 64, 5)


def test_metrics_of_a_worker_without_its_broker(tmp_path: Path) -> None:
    """All metrics have names that Prometheus accepts; the broker is shown as disconnected."""
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    with reserved_port() as port:
        flags = ("--bucket", "b", "--brokers", "127.0.0.1:1", "--state-dir", tmp_path / "state", "--converters", 1)
        worker = Worker(tmp_path, *flags, "--metrics-port", port, env=environ)
        worker.wait_for("iniciado")
        samples = scrape(port)
        assert get(port, "/healthz").content == "ok\n"
        assert worker.stop() == 0
    assert samples['frota_images_worker_broker_connected{purpose="images"}'] == 0
    assert samples["frota_images_worker_converters"] == 1
    assert samples["frota_images_worker_storage_available"] == 1
    assert samples["frota_images_worker_images_in_flight"] == 0


def test_results_and_dead_letters_are_counted() -> None:
    """Results are counted with their time, dead letters by the code of their reason."""
    log = WorkerEventLog(0)
    log.done(IMAGE, time.perf_counter() - 2, "results", "a.jpg")
    for code in ("timeout", "timeout", "gone"):
        log.dead(IMAGE, 0.0, DeadLetterReason(code, "x"))
    assert log.converted_total == 1
    assert 2 <= log.conversion_seconds_total < 10
    assert log.dead_letters == {"timeout": 2, "gone": 1}


def test_failures_of_s3_are_counted() -> None:
    """Each failed request to S3 is counted, and S3 is unavailable until one succeeds."""
    retry, outages, remaining = S3Retry(min_backoff_s=0.001), list[bool](), [1, 1]

    async def request() -> str:
        outages.append(retry.available)
        if remaining:
            raise StorageError(f"away {remaining.pop()}")
        return "ok"

    assert asyncio.run(retry.retry(request, retry.deadline())) == "ok"
    assert outages == [True, False, False]
    assert (retry.failures_total, retry.available) == (2, True)
