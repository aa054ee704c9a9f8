"""What a worker makes of an image that it cannot work on."""

import asyncio

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
