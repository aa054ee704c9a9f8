"""What a worker makes of what it cannot work on, and of what is left of the one before it."""

import asyncio
from pathlib import Path

import pytest

from frota.images.messages import Ticket
from frota.images.settings import WorkerSettings
from frota.images.worker import DeadError, Worker

UPLOADED = Ticket("a" * 32, "a.jpg", "b" * 32, "c" * 64, 5, "uploads/a")


def test_an_uploaded_image_is_dead_for_a_worker_that_knows_no_bucket_of_uploads() -> None:
    config = WorkerSettings(bucket="results")
    worker = Worker(config, lambda: config, lambda _: None)
    with pytest.raises(DeadError) as error:
        asyncio.run(worker._result(UPLOADED, b""))
    assert error.value.death.code == "no_uploads"


def test_a_worker_begins_without_the_images_that_a_killed_one_has_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tmpabc.image", "tmpabc.image.1F2e3D4c"):
        (tmp_path / name).touch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    config = WorkerSettings(bucket="results", state_dir=tmp_path, brokers=(("127.0.0.1", 1),), converters=1)

    async def run() -> None:
        worker = Worker(config, lambda: config, lambda _: None)
        await worker.start()
        await worker.stop()

    asyncio.run(run())
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]
