"""Support of the tests of submissions: a broker and an S3 that the test controls."""

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
    """Replaces S3; `objects` has the uploaded objects by key."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.upload_started, self.may_finish = asyncio.Event(), asyncio.Event()
        self.may_finish.set()

    async def upload(self, _bucket: str, key: str, file: IO[bytes]) -> None:
        """Store the content of the file."""
        self.upload_started.set()
        await self.may_finish.wait()
        self.objects[key] = file.read()


class Broker:
    """Replaces a publisher; `published` has the properties of the messages."""

    def __init__(self) -> None:
        self.published: list[pika.BasicProperties] = []
        self.blocked = asyncio.Event()

    async def publish(self, _exchange: str, _key: str, _body: bytes, properties: pika.BasicProperties) -> None:
        """Confirm at once."""
        self.published.append(properties)


@asynccontextmanager
async def submission_handler(
    folder: Path, broker: Any, bucket: Any, **settings: Any
) -> AsyncIterator[SubmissionHandler]:
    """Give a handler of submissions with a status store of its own."""
    config = ProducerSettings(state_dir=folder, uploads_bucket="uploads", **settings)
    statuses = StatusStore(folder, 100)
    await statuses.open()
    handler = SubmissionHandler(config, broker, statuses, bucket)
    try:
        yield handler
    finally:
        await handler.close()
        await statuses.close()


async def parts(data: bytes) -> AsyncIterator[bytes]:
    """Give an image in two parts."""
    yield data[:100]
    yield data[100:]
