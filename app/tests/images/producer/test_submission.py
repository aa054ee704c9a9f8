"""Submission: validation, rejection, and uploads that stay as they were accepted."""

import asyncio
import errno
import threading
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from frota.images.producer.status_store import Status
from frota.images.producer.submission import RejectionKind, SubmissionRejected, SubmittedImage
from frota.images.s3.bucket import StorageError
from frota.logs import log
from support import TIMEOUT_S
from support.pipeline import picture
from support.submission import Broker, Bucket, parts, submission_handler


def test_missing_ids_are_made() -> None:
    """A submitted image without id or valid trace gets new ones."""
    submitted, other = SubmittedImage.of("a.jpg", "", ""), SubmittedImage.of("a.jpg", "", "00-nonsense")
    assert len({submitted.id, submitted.trace, other.id, other.trace}) == 4


@pytest.mark.parametrize(("name", "image"), [("../a.jpg", ""), ("a.jpg", "7"), ("a.jpg", "A" * 32)])
def test_invalid_name_or_id_is_rejected(name: str, image: str) -> None:
    """A path as name, or an invalid id, is rejected as invalid."""
    with pytest.raises(SubmissionRejected) as error:
        SubmittedImage.of(name, image, "")
    assert error.value.kind is RejectionKind.INVALID


def test_accepted_upload_is_immutable(tmp_path: Path) -> None:
    """A later image with the id of an upload does not change the upload."""

    async def run() -> tuple[list[bytes], list[str]]:
        broker, bucket = Broker(), Bucket()
        async with submission_handler(tmp_path, broker, bucket) as handler:
            for colour, accepted in ((1, True), (1, True), (2, False)):
                data = picture(colour)
                refusal = nullcontext() if accepted else pytest.raises(SubmissionRejected, match="id já usado")
                with refusal:
                    submitted = SubmittedImage.of("a.jpg", "a" * 32, "")
                    await handler.accept_upload(submitted, len(data), parts(data), lambda: 5.0)
        keys = [(properties.headers or {})["upload"] for properties in broker.published]
        return [bucket.objects[key] for key in keys], sorted(bucket.objects)

    uploaded, stored = asyncio.run(run())
    assert uploaded == [picture(1)] * 2
    assert len(stored) == 1


def test_cancelled_upload_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may disconnect while its upload is checked."""
    looking, go = threading.Event(), threading.Event()

    def look(data: bytes, _limits: object) -> None:
        with memoryview(data):
            looking.set()
            assert go.wait(TIMEOUT_S)

    async def run() -> None:
        async with submission_handler(tmp_path, Broker(), Bucket()) as handler:
            data = bytes(1 << 20)  # too large to be checked without a thread
            work = handler.accept_upload(SubmittedImage.of("a.jpg", "", ""), len(data), parts(data), lambda: 5.0)
            task = asyncio.ensure_future(work)
            await asyncio.to_thread(looking.wait, TIMEOUT_S)
            task.cancel()
            try:
                with pytest.raises(asyncio.CancelledError):
                    await task
            finally:
                go.set()

    monkeypatch.setattr("frota.images.producer.submission.read_header", look)
    asyncio.run(run())


def test_blocked_broker_rejects_early(tmp_path: Path) -> None:
    """While the broker blocks publishers, images are rejected before any work."""

    async def run() -> tuple[list[RejectionKind], int]:
        broker, bucket, data = Broker(), Bucket(), picture()
        broker.blocked.set()
        kinds = []
        async with submission_handler(tmp_path, broker, bucket) as handler:
            for work in (
                handler.accept(SubmittedImage.of("a.jpg", "", ""), data, 5.0),
                handler.accept_upload(SubmittedImage.of("a.jpg", "", ""), len(data), parts(data), lambda: 5.0),
            ):
                with pytest.raises(SubmissionRejected) as error:
                    await work
                kinds.append(error.value.kind)
        return kinds, len(broker.published) + len(bucket.objects)

    assert asyncio.run(run()) == ([RejectionKind.FULL, RejectionKind.FULL], 0)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Collect what is logged: level, event and fields."""
    records: list[dict[str, object]] = []

    def record(level: str, event: str, _text: str, **more: object) -> None:
        records.append({"level": level, "event": event} | more)

    monkeypatch.setattr(log, "record", record)
    return records


@pytest.mark.parametrize(("permanent", "level"), [(False, "WARNING"), (True, "ERROR")])
def test_failed_upload_is_logged_and_rejected(
    tmp_path: Path, records: list[dict[str, object]], permanent: bool, level: str
) -> None:
    """A failed upload is logged with its trace id, and rejected."""

    class Away(Bucket):
        async def upload(self, *_: object) -> None:
            raise StorageError("S3: no", permanent=permanent)

    async def run() -> None:
        submitted, data = SubmittedImage("a.jpg", "a" * 32, "b" * 32), picture()
        async with submission_handler(tmp_path, Broker(), Away()) as handler:
            with pytest.raises(SubmissionRejected) as error:
                await handler.accept_upload(submitted, len(data), parts(data), lambda: 5.0)
            assert error.value.kind is RejectionKind.UNAVAILABLE

    asyncio.run(run())
    about = {"IMAGE_ID": "a" * 32, "TRACE_ID": "b" * 32, "FILENAME": "a.jpg"}
    assert records == [{"level": level, "event": "upload_failed"} | about]


def test_unsaved_status_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[dict[str, object]]
) -> None:
    """An image whose status cannot be saved is accepted, and logged with its trace id."""

    async def full(_: Status) -> None:
        raise OSError(28, "No space left on device")

    async def run() -> None:
        async with submission_handler(tmp_path, Broker(), Bucket()) as handler:
            monkeypatch.setattr(handler._statuses, "save", full)
            await handler.accept(SubmittedImage("a.jpg", "a" * 32, "b" * 32), picture(), 5.0)

    asyncio.run(run())
    about = {"IMAGE_ID": "a" * 32, "TRACE_ID": "b" * 32, "FILENAME": "a.jpg"}
    assert records == [{"level": "ERROR", "event": "status_write_failed"} | about]


@pytest.mark.parametrize(("failures", "kind"), [(2, RejectionKind.INVALID), (10**6, RejectionKind.UNAVAILABLE)])
def test_decoder_start_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, kind: RejectionKind
) -> None:
    """A failed start of the decoder is retried until the timeout; then the image is rejected, not accepted unseen."""
    attempts = count(1)
    start = asyncio.create_subprocess_exec

    async def fail_first(*words: Any, **options: Any) -> asyncio.subprocess.Process:
        if next(attempts) <= failures:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return await start(*words, **options)

    async def run() -> tuple[RejectionKind, int]:
        broker, timeout_s = Broker(), TIMEOUT_S if kind is RejectionKind.INVALID else 0.5
        async with submission_handler(tmp_path, broker, Bucket()) as handler:
            with pytest.raises(SubmissionRejected) as error:
                await handler.accept(SubmittedImage.of("a.jpg", "", ""), picture()[:-20], timeout_s)
        return error.value.kind, len(broker.published)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail_first)
    assert asyncio.run(run()) == (kind, 0)
