"""What the tests of a producer's inside need: a broker and an S3 that do as a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import pika

from frota.images.producer.status_store import StatusStore
from frota.images.producer.submission import SubmissionHandler
from frota.images.settings import ProducerSettings


class Bucket:
    """Stands in for S3, and keeps what is put there."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def upload(self, _bucket: str, key: str, file: IO[bytes]) -> None:
        """Keep what the file holds."""
        self.asked.set()
        await self.answers.wait()
        self.kept[key] = file.read()


class Broker:
    """Stands in for a publisher, and keeps what is published."""

    def __init__(self) -> None:
        self.published: list[pika.BasicProperties] = []
        self.blocked = asyncio.Event()

    async def publish(self, _exchange: str, _key: str, _body: bytes, properties: pika.BasicProperties) -> None:
        """Confirm at once."""
        self.published.append(properties)


@asynccontextmanager
async def intake(folder: Path, broker: Any, bucket: Any, **settings: Any) -> AsyncIterator[SubmissionHandler]:
    """Give what takes images in, with a table of statuses of its own."""
    config = ProducerSettings(state_dir=folder, uploads_bucket="uploads", **settings)
    statuses = StatusStore(folder, 100)
    await statuses.open()
    taking = SubmissionHandler(config, broker, statuses, bucket)
    try:
        yield taking
    finally:
        await taking.close()
        await statuses.close()


async def parts(data: bytes) -> AsyncIterator[bytes]:
    """Give an image in two parts."""
    yield data[:100]
    yield data[100:]
