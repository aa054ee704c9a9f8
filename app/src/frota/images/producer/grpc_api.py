"""The producer's gRPC edge: the original's service, and the native one (images.proto)."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
import grpc.aio

from frota.core.trace import trace_of
from frota.images import messages
from frota.images.event_log import ProducerEventLog, named
from frota.images.messages import BadMessage, Ticket
from frota.images.producer.memory_limiter import MemoryLimiter, Reservation
from frota.images.producer.status_store import FINAL, State, Status, StatusStore
from frota.images.producer.submission import Kind, Offer, RefusedError, Submission, about
from frota.images.proto import cloudimg_pb2 as original
from frota.images.proto import images_pb2 as native
from frota.logs.log import record

Context = Any  # grpc.aio.ServicerContext, generic in types that no method here uses
_ENVELOPE = 64 * 1024  # bytes of a message besides its image
_MARGIN = 0.3  # seconds before a client's deadline in which its answer must be on its way
_READ_SECONDS = 90.0  # for one message, whatever the client's deadline: it holds room, and our own client is faster
_UPLOADS_AT_ONCE = 4  # each is on disk in whole before S3 has it; all have half of the room at most
_MOST_IDS = 1000
_CODES = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.AWAY: grpc.StatusCode.UNAVAILABLE,
}


class Servicer:
    """Both services. Memory is bounded by reading a message only when there is room for the largest.

    What a message does not need of it is given back as soon as its size is known.
    """

    def __init__(
        self, intake: Submission, statuses: StatusStore, url: Callable[[str, str], str], event_log: ProducerEventLog
    ) -> None:
        self._intake, self._statuses, self._url, self._event_log = intake, statuses, url, event_log
        held, self._largest = intake.settings.max_held_bytes, intake.settings.max_bytes + _ENVELOPE
        self._room = MemoryLimiter(held)
        self._uploads = MemoryLimiter(max(1, min(_UPLOADS_AT_ONCE, held // (2 * self._largest))))
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End what would last: whoever watches is to watch somewhere else, or later."""
        self._stopping.set()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers for a server."""
        # On the wire a single message and a stream of one are the same; a stream is read when we say so.
        single, stream = grpc.stream_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        send = single(self._send_image, original.ImageRequest.FromString, original.ImageResponse.SerializeToString)
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Send": single(self._send, native.SendRequest.FromString, native.Accepted.SerializeToString),
            "Upload": single(self._upload, native.UploadPart.FromString, native.Accepted.SerializeToString),
            "GetStatus": grpc.unary_unary_rpc_method_handler(
                self._get_status, native.StatusRequest.FromString, native.StatusReply.SerializeToString
            ),
            "Watch": stream(self._watch, native.StatusRequest.FromString, native.Status.SerializeToString),
        }
        return [
            grpc.method_handlers_generic_handler(messages.ORIGINAL_SERVICE, {"SendImage": send}),
            grpc.method_handlers_generic_handler(messages.NATIVE_SERVICE, methods),
        ]

    async def _send_image(self, _parts: object, context: Context) -> original.ImageResponse:
        """Answer a client of the original's, to whom a refusal is an answer too."""
        try:
            ticket = await self._taken(context, lambda: self._read_one(context))
        except RefusedError as error:
            return original.ImageResponse(success=False, message=str(error))
        return original.ImageResponse(success=True, message=messages.RECEIVED.format(ticket.filename))

    async def _send(self, _parts: object, context: Context) -> native.Accepted:
        return await self._accepted(context, lambda: self._read_one(context))

    async def _upload(self, _parts: object, context: Context) -> native.Accepted:
        return await self._accepted(context, lambda: self._read_many(context))

    async def _accepted(self, context: Context, work: Callable[[], Awaitable[Ticket]]) -> native.Accepted:
        """Answer a native client, to whom a refusal is a status."""
        try:
            ticket = await self._taken(context, work)
        except RefusedError as error:
            await _abort(context, _CODES[error.kind], str(error))
        return native.Accepted(id=ticket.id, trace_id=ticket.trace)

    async def _taken(self, context: Context, work: Callable[[], Awaitable[Ticket]]) -> Ticket:
        """Do the work, and note what came of it. Raises RefusedError."""
        began = time.perf_counter()
        try:
            ticket = await work()
        except RefusedError as error:
            self._event_log.refused(context.peer(), error, error.offer or _nameless(context))
            raise
        except Exception as error:  # noqa: BLE001 -- the edge of the task: the client is answered, the log has the rest
            text = f"an image failed in a way that nobody foresaw: {error!r}"
            record("ERROR", "internal_error", text, error=error, **named(_nameless(context)))
            raise RefusedError(Kind.AWAY, messages.INTERNAL) from None
        self._event_log.queued(context.peer(), ticket, began)
        return ticket

    async def _read_one(self, context: Context) -> Ticket:
        """Take an image in that comes in one message, of either service."""
        async with self._held(context) as held:
            request = await self._message(context)
            image = request.id if isinstance(request, native.SendRequest) else ""
            filename, data = request.filename, request.image_data  # a copy: the message itself is let go of
            del request
            held.keep(min(len(data) + _ENVELOPE, self._largest))
            offer = Offer.of(filename, image, _traceparent(context))
            with about(offer):
                return await self._intake.accept(offer, data, self._patience(context))

    async def _read_many(self, context: Context) -> Ticket:
        """Take an image in that comes in parts; a client without a deadline has its time for each of them.

        It waits for its turn first, and has room for one part at a time only, so that small images pass it.
        """
        async with self._uploads.of(1, self._patience(context)):
            async with self._held(context):
                first = await self._message(context)
            if first.WhichOneof("part") != "header":
                raise RefusedError(Kind.INVALID, messages.NO_HEADER)
            offer = Offer.of(first.header.filename, first.header.id, _traceparent(context))
            async with aclosing(self._data(context)) as parts:
                with about(offer):
                    return await self._intake.accept_upload(
                        offer, first.header.size, parts, lambda: self._patience(context)
                    )

    async def _data(self, context: Context) -> AsyncGenerator[bytes]:
        while True:
            async with self._held(context):
                part = await self._message(context, may_end=True)
                if part is None:
                    return
                yield part.data

    def _patience(self, context: Context) -> float:
        """Return how many seconds the client waits from now on, with time for the answer to get there."""
        left = context.time_remaining()
        return self._intake.settings.answer_seconds if left is None else max(float(left) - _MARGIN, 0)

    def _held(self, context: Context) -> Reservation:
        """Return what has room for the largest message while its block runs; it raises RefusedError."""
        return self._room.of(self._largest, self._patience(context))

    async def _message(self, context: Context, *, may_end: bool = False) -> Any:
        """Read one message; None for the end, where there may be one. Raises RefusedError."""
        try:
            async with asyncio.timeout(min(self._patience(context), _READ_SECONDS)):
                message = await context.read()
        except TimeoutError:
            raise RefusedError(Kind.AWAY, messages.LATE) from None
        if message is not grpc.aio.EOF:
            return message
        if not may_end:
            raise RefusedError(Kind.INVALID, messages.LATE)
        return None

    async def _get_status(self, request: native.StatusRequest, context: Context) -> native.StatusReply:
        found = await self._known(await _ids(request, context), context)
        return native.StatusReply(statuses=[self._shown(status) for status in found])

    async def _watch(self, request: native.StatusRequest, context: Context) -> AsyncIterator[native.Status]:
        ids = set(await _ids(request, context))
        changes = self._statuses.watch(ids)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            open_ids, told = set(ids), set[Status]()
            news: Sequence[Status] = await self._known(request.ids, context)
            while True:
                for status in news:
                    if status not in told:  # a change may be read from the table, and come as news too
                        yield self._shown(status)
                    told.add(status)
                    if status.state in FINAL:
                        open_ids.discard(status.id)
                if not open_ids:
                    return
                change = asyncio.ensure_future(changes.get())
                await asyncio.wait({change, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not change.done():
                    change.cancel()
                    await _abort(context, grpc.StatusCode.UNAVAILABLE, messages.STOPPING)
                news = [change.result()]
        finally:
            stopping.cancel()
            self._statuses.unwatch(ids, changes)

    async def _known(self, ids: Sequence[str], context: Context) -> list[Status]:
        try:
            return await self._statuses.get(ids)
        except OSError as error:
            record("ERROR", "status_read_failed", f"what became of images cannot be read: {error}")
            await _abort(context, grpc.StatusCode.UNAVAILABLE, messages.INTERNAL)

    def _shown(self, status: Status) -> native.Status:
        return native.Status(
            id=status.id,
            state=int(status.state),  # type: ignore[arg-type] # the numbers are the proto's own
            filename=status.filename,
            trace_id=status.trace,
            worker=status.worker,
            url=self._url(status.bucket, status.key) if status.state is State.DONE else "",
            reason=status.reason,
            changed=status.changed,
        )


async def _ids(request: native.StatusRequest, context: Context) -> list[str]:
    """Return the ids that are asked for, each once; ends the call for what are none."""
    if len(request.ids) > _MOST_IDS:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, messages.TOO_MANY_IDS)
    try:
        return [messages.check_id(image) for image in request.ids]
    except BadMessage as error:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError  # abort has raised


def _nameless(context: Context) -> Offer:
    """Return what is known of an image of which nothing came but its call."""
    return Offer("", "", trace_of(_traceparent(context)))


def _traceparent(context: Context) -> str:
    metadata = dict(context.invocation_metadata() or ())
    return str(metadata.get("traceparent", ""))
