"""The producer's gRPC services: the legacy one (cloudimg.proto) and the native one (images.proto)."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
import grpc.aio

from frota.core.errors import MalformedMessage
from frota.core.trace import trace_of
from frota.images import messages
from frota.images.event_log import ProducerEventLog, image_fields
from frota.images.messages import QueuedImage
from frota.images.producer.memory_limiter import MemoryLimiter, Reservation
from frota.images.producer.status_store import FINAL, State, Status, StatusStore
from frota.images.producer.submission import (
    RejectionKind,
    SubmissionHandler,
    SubmissionRejected,
    SubmittedImage,
    identify_rejections,
)
from frota.images.proto import cloudimg_pb2 as legacy
from frota.images.proto import images_pb2 as native
from frota.logs.log import record
from frota.net.exposition import CounterBy

Context = Any  # grpc.aio.ServicerContext, generic in types that no method here uses
_ENVELOPE_BYTES = 64 * 1024  # of a message besides its image
_ANSWER_MARGIN_S = 0.3  # the response is sent this long before the client's deadline
_READ_TIMEOUT_S = 90.0  # for one message, whatever the client's deadline: its memory is reserved
_MAX_UPLOADS = 4  # each is spooled to disk; together they reserve at most half of the memory
_MAX_IDS = 1000
_CODES = {
    RejectionKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    RejectionKind.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RejectionKind.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RejectionKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


class Servicer:
    """Both services, with a memory limit: before a message is read, memory for the largest is reserved.

    The unused part of a reservation is released as soon as the message's size is known.
    """

    def __init__(
        self,
        submissions: SubmissionHandler,
        statuses: StatusStore,
        url: Callable[[str, str], str],
        event_log: ProducerEventLog,
        read_timeout_s: float = _READ_TIMEOUT_S,
    ) -> None:
        self._submissions, self._statuses, self._url, self._event_log = submissions, statuses, url, event_log
        self._largest = submissions.settings.max_bytes + _ENVELOPE_BYTES
        limit = submissions.settings.memory_limit_bytes
        self.memory = MemoryLimiter(limit)
        self._uploads = MemoryLimiter(max(1, min(_MAX_UPLOADS, limit // (2 * self._largest))))
        self._read_timeout_s = read_timeout_s
        self.accepted_total = self.accepted_bytes_total = 0
        self.rejections = CounterBy()  # images by the kind of their rejection
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the open Watch streams; their clients reconnect."""
        self._stopping.set()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers for a server."""
        # A unary request is a stream of one message on the wire; a stream lets us choose when to read it.
        single, stream = grpc.stream_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        send = single(self._send_image, legacy.ImageRequest.FromString, legacy.ImageResponse.SerializeToString)
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Send": single(self._send, native.SendRequest.FromString, native.Accepted.SerializeToString),
            "Upload": single(self._upload, native.UploadPart.FromString, native.Accepted.SerializeToString),
            "GetStatus": grpc.unary_unary_rpc_method_handler(
                self._get_status, native.StatusRequest.FromString, native.StatusReply.SerializeToString
            ),
            "Watch": stream(self._watch, native.StatusRequest.FromString, native.Status.SerializeToString),
        }
        return [
            grpc.method_handlers_generic_handler(messages.LEGACY_SERVICE, {"SendImage": send}),
            grpc.method_handlers_generic_handler(messages.NATIVE_SERVICE, methods),
        ]

    async def _send_image(self, _parts: object, context: Context) -> legacy.ImageResponse:
        """Handle a legacy request; a rejection is a response with success = false."""
        try:
            image = await self._submit(context, lambda: self._read_one(context))
        except SubmissionRejected as error:
            return legacy.ImageResponse(success=False, message=str(error))
        return legacy.ImageResponse(success=True, message=messages.RECEIVED.format(image.filename))

    async def _send(self, _parts: object, context: Context) -> native.Accepted:
        return await self._answer(context, lambda: self._read_one(context))

    async def _upload(self, _parts: object, context: Context) -> native.Accepted:
        return await self._answer(context, lambda: self._read_many(context))

    async def _answer(self, context: Context, work: Callable[[], Awaitable[QueuedImage]]) -> native.Accepted:
        """Handle a native request; a rejection is a gRPC status."""
        try:
            image = await self._submit(context, work)
        except SubmissionRejected as error:
            await _abort(context, _CODES[error.kind], str(error))
        return native.Accepted(id=image.id, trace_id=image.trace)

    async def _submit(self, context: Context, work: Callable[[], Awaitable[QueuedImage]]) -> QueuedImage:
        """Do the work, and log its outcome. Raises SubmissionRejected."""
        began = time.perf_counter()
        try:
            image = await work()
        except SubmissionRejected as error:
            self.rejections.count(error.kind.name.lower())
            self._event_log.rejected(context.peer(), error, error.image or _unidentified(context))
            raise
        except Exception as error:  # noqa: BLE001 -- the edge of the task: the client gets a response, the log the error
            text = f"unexpected error while accepting an image: {error!r}"
            record("ERROR", "internal_error", text, error=error, **image_fields(_unidentified(context)))
            self.rejections.count("internal")
            raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.INTERNAL) from None
        self.accepted_total += 1
        self.accepted_bytes_total += image.size
        self._event_log.queued(context.peer(), image, began)
        return image

    async def _read_one(self, context: Context) -> QueuedImage:
        """Accept an image of one message, of either service."""
        async with self._reserve(context) as reservation:
            request = await self._read_message(context)
            image = request.id if isinstance(request, native.SendRequest) else ""
            filename, data = request.filename, request.image_data  # a copy, so that the message can be freed
            del request
            reservation.shrink(min(len(data) + _ENVELOPE_BYTES, self._largest))
            submitted = SubmittedImage.of(filename, image, _traceparent(context))
            with identify_rejections(submitted):
                return await self._submissions.accept(submitted, data, self._remaining(context))

    async def _read_many(self, context: Context) -> QueuedImage:
        """Accept an uploaded image; without a client's deadline, the timeout is per part.

        Uploads wait for each other, and reserve memory for one part at a time, so that small images overtake them.
        """
        async with self._uploads.reserve(1, self._remaining(context)):
            async with self._reserve(context):
                first = await self._read_message(context)
            if first.WhichOneof("part") != "header":
                raise SubmissionRejected(RejectionKind.INVALID, messages.NO_HEADER)
            submitted = SubmittedImage.of(first.header.filename, first.header.id, _traceparent(context))
            async with aclosing(self._data(context)) as parts:
                with identify_rejections(submitted):
                    return await self._submissions.accept_upload(
                        submitted, first.header.size, parts, lambda: self._remaining(context)
                    )

    async def _data(self, context: Context) -> AsyncGenerator[bytes]:
        while True:
            async with self._reserve(context):
                part = await self._read_message(context, may_end=True)
                if part is None:
                    return
                yield part.data

    def _remaining(self, context: Context) -> float:
        """Return the seconds until the response must be sent."""
        remaining = context.time_remaining()
        if remaining is None:
            return self._submissions.settings.publish_timeout
        return max(float(remaining) - _ANSWER_MARGIN_S, 0)

    def _reserve(self, context: Context) -> Reservation:
        """Return a reservation for the largest message; entering it may raise SubmissionRejected."""
        return self.memory.reserve(self._largest, self._remaining(context))

    async def _read_message(self, context: Context, *, may_end: bool = False) -> Any:
        """Read one message; None at the end of the stream, if `may_end`. Raises SubmissionRejected."""
        try:
            async with asyncio.timeout(min(self._remaining(context), self._read_timeout_s)):
                message = await context.read()
        except TimeoutError:
            raise SubmissionRejected(RejectionKind.UNAVAILABLE, messages.IMAGE_TIMEOUT) from None
        if message is not grpc.aio.EOF:
            return message
        if not may_end:
            raise SubmissionRejected(RejectionKind.INVALID, messages.IMAGE_TIMEOUT)
        return None

    async def _get_status(self, request: native.StatusRequest, context: Context) -> native.StatusReply:
        statuses = await self._statuses_of(await _ids(request, context), context)
        return native.StatusReply(statuses=[self._status_message(status) for status in statuses])

    async def _watch(self, request: native.StatusRequest, context: Context) -> AsyncIterator[native.Status]:
        ids = set(await _ids(request, context))
        changes = self._statuses.watch(ids)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            open_ids, sent = set(ids), set[Status]()
            updates: Sequence[Status] = await self._statuses_of(request.ids, context)
            while True:
                for status in updates:
                    if status not in sent:  # a change may be in both the table and the queue
                        yield self._status_message(status)
                    sent.add(status)
                    if status.state in FINAL:
                        open_ids.discard(status.id)
                if not open_ids:
                    return
                change = asyncio.ensure_future(changes.get())
                await asyncio.wait({change, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not change.done():
                    change.cancel()
                    await _abort(context, grpc.StatusCode.UNAVAILABLE, messages.STOPPING)
                updates = [change.result()]
        finally:
            stopping.cancel()
            self._statuses.unwatch(ids, changes)

    async def _statuses_of(self, ids: Sequence[str], context: Context) -> list[Status]:
        try:
            return await self._statuses.get(ids)
        except OSError as error:
            record("ERROR", "status_read_failed", f"cannot read the status of images: {error}")
            await _abort(context, grpc.StatusCode.UNAVAILABLE, messages.INTERNAL)

    def _status_message(self, status: Status) -> native.Status:
        return native.Status(
            id=status.id,
            state=int(status.state),  # type: ignore[arg-type] # the numbers equal the proto's
            filename=status.filename,
            trace_id=status.trace,
            worker=status.worker,
            url=self._url(status.bucket, status.key) if status.state is State.DONE else "",
            reason=status.reason,
            changed=status.changed,
        )


async def _ids(request: native.StatusRequest, context: Context) -> list[str]:
    """Return the ids of a request; abort the call for invalid ones."""
    if len(request.ids) > _MAX_IDS:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, messages.TOO_MANY_IDS)
    try:
        return [messages.check_id(image) for image in request.ids]
    except MalformedMessage as error:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError  # abort has raised


def _unidentified(context: Context) -> SubmittedImage:
    """Return an image of which only the call is known."""
    return SubmittedImage("", "", trace_of(_traceparent(context)))


def _traceparent(context: Context) -> str:
    metadata = dict(context.invocation_metadata() or ())
    return str(metadata.get("traceparent", ""))
