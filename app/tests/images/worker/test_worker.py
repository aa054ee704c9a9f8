"""The worker: unprocessable images, requeuing, and leftovers of a killed worker."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frota.images.messages import QueuedImage
from frota.images.s3.bucket import StorageError
from frota.images.settings import WorkerSettings
from frota.images.worker.s3_retry import OutageTimeout
from frota.images.worker.worker import Unprocessable, Worker
from frota.logs import log

UPLOADED = QueuedImage("a" * 32, "a.jpg", "b" * 32, "c" * 64, 5, "uploads/a")


def test_upload_needs_an_uploads_bucket() -> None:
    """Without an uploads bucket, an uploaded image is unprocessable."""
    config = WorkerSettings(bucket="results")
    worker = Worker(config, lambda: config, lambda _: None)
    with pytest.raises(Unprocessable) as error:
        asyncio.run(worker._result(UPLOADED, b"", 0))
    assert error.value.reason.code == "no_uploads"


def test_orphaned_upload_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that cannot be deleted is logged with its trace id."""

    class Away:
        async def delete(self, *_: object) -> None:
            raise StorageError("away")

    records: list[dict[str, object]] = []
    monkeypatch.setattr(log, "record", lambda _level, event, _text, **more: records.append({"event": event} | more))
    config = WorkerSettings(bucket="results", uploads_bucket="uploads")
    worker = Worker(config, lambda: config, lambda _: None)
    worker._s3 = Away()  # type: ignore[assignment] # as far as it is used
    asyncio.run(worker._delete_upload(UPLOADED))
    about = {"IMAGE_ID": UPLOADED.id, "TRACE_ID": UPLOADED.trace, "FILENAME": "a.jpg"}
    assert records == [{"event": "upload_orphaned"} | about]


def test_leftover_downloads_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A starting worker deletes downloads of a killed one."""
    for name in ("tmpabc.image", "tmpabc.image.1F2e3D4c"):
        (tmp_path / name).touch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    config = WorkerSettings(
        bucket="results", state_dir=tmp_path, brokers=(("127.0.0.1", 1),), converters=1, metrics_port=0
    )

    async def run() -> None:
        worker = Worker(config, lambda: config, lambda _: None)
        await worker.start()
        await worker.stop()

    asyncio.run(run())
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("settled", [[True], [False, False, True]], ids=str)
def test_requeued_image_is_acked_after_confirm(settled: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """A requeued image is acknowledged only after the broker's confirm."""
    config = WorkerSettings(bucket="results", uploads_bucket="uploads")
    worker = Worker(config, lambda: config, lambda _: None)
    tries, forgotten = list[int](), list[int]()

    async def result(*_: object) -> str:
        tries.append(1)
        raise OutageTimeout

    async def again(_: object) -> bool:
        return settled[len(tries) - 1]

    monkeypatch.setattr(worker, "_result", result)
    worker._status_publisher = SimpleNamespace(requeue=again)  # type: ignore[assignment] # as far as it is used
    delivery: Any = SimpleNamespace(body=b"", ack=lambda: forgotten.append(len(tries)))
    assert asyncio.run(worker._result_unless_requeued(UPLOADED, delivery)) == ""
    assert forgotten == [len(settled)]


def test_stop_requeues_unfinished_images_only() -> None:
    """Stopping requeues the unfinished images only."""
    config = WorkerSettings(bucket="results")
    worker = Worker(config, lambda: config, lambda _: None)
    requeued = list[str]()

    async def again(delivery: Any) -> bool:
        requeued.append(delivery.body)
        return True

    async def run() -> None:
        finished, in_flight = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(asyncio.sleep(60))
        await finished
        for task, body in ((finished, "finished"), (in_flight, "in flight")):
            worker._working[task] = SimpleNamespace(body=body, ack=lambda: None)  # type: ignore[assignment] # as above
        await worker._requeue_all(1)

    worker._status_publisher = SimpleNamespace(requeue=again)  # type: ignore[assignment] # as far as it is used
    asyncio.run(run())
    assert requeued == ["in flight"]
