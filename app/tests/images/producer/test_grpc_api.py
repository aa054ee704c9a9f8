"""The producer's gRPC services: slow and idle clients do not block others."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from frota.images import event_log, messages
from frota.images.event_log import ProducerEventLog
from frota.images.producer.grpc_api import Servicer
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S
from support.pipeline import picture
from support.submission import Broker, Bucket, submission_handler

SMALLEST = 32 * 2**20  # bytes of images held; two of the largest


@asynccontextmanager
async def served(folder: Path, bucket: Bucket, read_timeout_s: float = 90.0) -> AsyncIterator[grpc.aio.Channel]:
    """Give a channel to a producer with memory for two messages."""
    async with submission_handler(folder, Broker(), bucket, memory_limit_bytes=SMALLEST) as handler:
        server = grpc.aio.server()
        edge = Servicer(
            handler, handler._statuses, lambda bucket, key: f"{bucket}/{key}", ProducerEventLog(0), read_timeout_s
        )
        server.add_generic_rpc_handlers(edge.handlers())
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
        await server.stop(0)


def upload(channel: grpc.aio.Channel, parts: Any) -> Any:
    """Begin an upload with a deadline far away."""
    path = f"/{messages.NATIVE_SERVICE}/Upload"
    method = channel.stream_unary(path, native.UploadPart.SerializeToString, native.Accepted.FromString)
    return method(parts, timeout=86400)


def parts(data: bytes) -> Iterator[native.UploadPart]:
    """Give an image as a client uploads it."""
    yield native.UploadPart(header=native.UploadHeader(filename="a.jpg", size=len(data)))
    yield native.UploadPart(data=data)


def test_waiting_uploads_leave_memory(tmp_path: Path) -> None:
    """Uploads that wait for S3 or for each other leave memory to small images."""

    async def run() -> None:
        bucket = Bucket()
        bucket.may_finish.clear()
        async with served(tmp_path, bucket) as channel:
            uploads = [upload(channel, parts(picture(colour))) for colour in range(6)]
            await asyncio.wait_for(bucket.upload_started.wait(), TIMEOUT_S)
            send = channel.unary_unary(
                f"/{messages.NATIVE_SERVICE}/Send", native.SendRequest.SerializeToString, native.Accepted.FromString
            )
            assert await send(native.SendRequest(filename="b.jpg", image_data=picture()), timeout=TIMEOUT_S)
            assert not any(call.done() for call in uploads)
            bucket.may_finish.set()
            await asyncio.gather(*uploads)
            assert len(bucket.objects) == 6

    asyncio.run(run())


def test_idle_call_is_ended(tmp_path: Path) -> None:
    """A call without a message is ended, whatever its deadline."""

    async def nothing() -> AsyncIterator[native.UploadPart]:
        await asyncio.Event().wait()
        yield native.UploadPart()

    async def run() -> str | None:
        async with served(tmp_path, Bucket(), read_timeout_s=0.05) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await asyncio.wait_for(upload(channel, nothing()), TIMEOUT_S)
            return error.value.details()

    assert asyncio.run(run()) == messages.IMAGE_TIMEOUT


@pytest.mark.parametrize(
    ("name", "image", "fields"),
    [
        ("a.jpg", "a" * 32, {"IMAGE_ID": "a" * 32, "FILENAME": "a.jpg"}),
        ("../a\n.jpg", "7", {"IMAGE_ID": "7", "FILENAME": "../a\\n.jpg"}),
        ("x" * 1000, "b" * 32, {"IMAGE_ID": "b" * 32, "FILENAME": "x" * 255}),
    ],
    ids=["no image", "no name", "no end"],
)
def test_rejection_is_logged_with_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, image: str, fields: dict[str, str]
) -> None:
    """A rejection is logged with the id and trace id of its image."""
    trace, records = "c" * 32, list[dict[str, object]]()

    async def run() -> None:
        async with served(tmp_path, Bucket()) as channel:
            call = channel.unary_unary(
                f"/{messages.NATIVE_SERVICE}/Send", native.SendRequest.SerializeToString, native.Accepted.FromString
            )
            request = native.SendRequest(id=image, filename=name, image_data=b"no image")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(request, timeout=TIMEOUT_S, metadata=(("traceparent", f"00-{trace}-{'d' * 16}-01"),))

    monkeypatch.setattr(
        event_log, "record", lambda _level, event, _text, **more: records.append({"event": event} | more)
    )
    asyncio.run(run())
    (refused,) = records
    assert refused.pop("PEER")
    assert refused == {"event": "image_rejected", "TRACE_ID": trace, **fields}
