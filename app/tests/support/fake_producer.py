"""A producer that the test controls: a real grpc.aio server, on an event loop of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import grpc
import grpc.aio

from frota.images.proto import cloudimg_pb2 as legacy
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S

Reply = (
    tuple[grpc.StatusCode, str] | Callable[[], None] | None
)  # a rejection, an action before the acceptance, or acceptance
DONE = (native.QUEUED, native.WORKING, native.DONE)


class Received(NamedTuple):
    """The content of one call."""

    method: str
    id: str
    filename: str
    size: int
    traceparent: str
    peer: str


class FakeProducer:
    """Records its calls; `reply` gives the response to each, `states` the states of an image."""

    def __init__(
        self,
        reply: Callable[[Received], Reply] = lambda _: None,
        states: Callable[[str], tuple[int, ...]] = lambda _: DONE,
        credentials: grpc.ServerCredentials | None = None,
        *,
        services: str = "both",
        limit: int = 2**24,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.reply, self.states, self.credentials, self.services = reply, states, credentials, services
        self.disconnect_at_bytes = 0  # of an upload, after which it restarts, once
        self.cancelled = threading.Event()  # set when a client cancels an upload
        self._limit = limit
        self.received: list[Received] = []
        self.watched: list[list[str]] = []
        self.names: dict[str, str] = {}  # file names of accepted images, by id
        self.max_calls = self.active_calls = 0  # at one time
        self.port, self._host = port, host
        self.changed = asyncio.Event()  # set when the states of `names` are to be sent to the streams
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake producer")
        self._thread.start()

    def start(self) -> None:
        """Listen, after a stop on the same port."""
        self.run(self._start())

    def stop(self) -> None:
        """Close all connections."""
        self.run(self._server.stop(None))

    def restart(self) -> None:
        """Close all connections, and listen again."""
        self.run(self._restart())

    def change(self, states: Callable[[str], tuple[int, ...]]) -> None:
        """Change the states of images, and send them to the open streams."""
        self.states = states
        self._loop.call_soon_threadsafe(self._notify)

    def run(self, work: Any) -> Any:
        """Run a coroutine on the fake's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    def end(self) -> None:
        """Stop, and end the event loop."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        self._loop.close()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def _start(self) -> None:
        self._server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", self._limit)]
        )
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        methods: dict[str, Any] = {
            "Send": unary(self._send, native.SendRequest.FromString, native.Accepted.SerializeToString),
            "Upload": grpc.stream_unary_rpc_method_handler(
                self._upload, native.UploadPart.FromString, native.Accepted.SerializeToString
            ),
            "GetStatus": unary(self._get_status, native.StatusRequest.FromString, native.StatusReply.SerializeToString),
            "Watch": stream(self._watch, native.StatusRequest.FromString, native.Status.SerializeToString),
        }
        legacy_methods: dict[str, Any] = {
            "SendImage": unary(self._send_image, legacy.ImageRequest.FromString, legacy.ImageResponse.SerializeToString)
        }
        if self.services != "legacy":
            handlers = grpc.method_handlers_generic_handler("frota.images.Images", methods)
            self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("cloudimg.ImageService", legacy_methods),)
        )
        address = f"{self._host}:{self.port}"
        if self.credentials:
            self.port = self._server.add_secure_port(address, self.credentials)
        else:
            self.port = self._server.add_insecure_port(address)
        await self._server.start()

    async def _restart(self) -> None:
        await self._server.stop(None)
        await self._start()

    async def _send(self, request: native.SendRequest, context: Any) -> native.Accepted:
        return await self._answer("Send", request.id, request.filename, len(request.image_data), context)

    async def _upload(self, parts: AsyncIterator[native.UploadPart], context: Any) -> native.Accepted:
        header = (await anext(parts)).header
        size = 0
        try:
            async for part in parts:
                assert len(part.data) <= 2**20
                size += len(part.data)
                if 0 < self.disconnect_at_bytes <= size:
                    self.disconnect_at_bytes = 0
                    self._loop.create_task(self._restart())
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if size != header.size:  # to the reader, a cancelled call looks like a complete one
            self.cancelled.set()
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"{header.size} announced, {size} received")
        return await self._answer("Upload", header.id, header.filename, size, context)

    async def _send_image(self, request: legacy.ImageRequest, context: Any) -> legacy.ImageResponse:
        received = _received("SendImage", "", request.filename, len(request.image_data), context)
        self.received.append(received)
        if reply := self.reply(received):
            assert isinstance(reply, tuple)
            return legacy.ImageResponse(success=False, message=reply[1])
        text = f"Imagem {request.filename} recebida, processamento iniciado."
        return legacy.ImageResponse(success=True, message=text)

    async def _answer(self, method: str, image: str, name: str, size: int, context: Any) -> native.Accepted:
        self.active_calls += 1
        self.max_calls = max(self.max_calls, self.active_calls)
        try:
            received = _received(method, image, name, size, context)
            self.received.append(received)
            reply = await asyncio.to_thread(self.reply, received)
        finally:
            self.active_calls -= 1
        if isinstance(reply, tuple):
            await _abort(context, *reply)
        elif reply:
            await asyncio.to_thread(reply)
        self.names[image] = name
        return native.Accepted(id=image, trace_id=received.traceparent[3:35])

    async def _get_status(self, request: native.StatusRequest, _context: Any) -> native.StatusReply:
        return native.StatusReply(statuses=[self._status(image, self._states(image)[-1]) for image in request.ids])

    async def _watch(self, request: native.StatusRequest, _context: Any) -> AsyncIterator[native.Status]:
        self.watched.append(list(request.ids))
        while True:
            changed = self.changed
            for image in request.ids:
                for state in self._states(image):
                    yield self._status(image, state)
            if all(self._states(image)[-1] in (native.UNKNOWN, native.DONE, native.DEAD) for image in request.ids):
                return
            await changed.wait()

    def _states(self, image: str) -> tuple[int, ...]:
        return self.states(self.names[image]) if image in self.names else (native.UNKNOWN,)

    def _status(self, image: str, state: Any) -> native.Status:
        name = self.names.get(image, "")
        return native.Status(
            id=image,
            state=state,
            filename=name,
            worker="worker-1" if state == native.WORKING else "",
            url=f"https://results/{name}" if state == native.DONE else "",
            reason="imagem truncada" if state == native.DEAD else "",
            changed=1_800_000_000.25 if name else 0,
        )


def _received(method: str, image: str, name: str, size: int, context: Any) -> Received:
    traceparent = dict(context.invocation_metadata()).get("traceparent", "")
    return Received(method, image, name, size, traceparent, context.peer())


async def _abort(context: Any, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError


@contextmanager
def fake_producer(*arguments: Any, **options: Any) -> Iterator[FakeProducer]:
    """Run a fake producer for the time of a block."""
    producer = FakeProducer(*arguments, **options)
    producer.start()
    try:
        yield producer
    finally:
        producer.end()
