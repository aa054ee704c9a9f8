"""A producer that does as a test says: a real grpc.aio server, on an event loop of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import grpc
import grpc.aio

from frota.images.proto import cloudimg_pb2 as original
from frota.images.proto import images_pb2 as native
from support import PATIENCE

Reply = tuple[grpc.StatusCode, str] | Callable[[], None] | None  # a refusal, something to be done, or acceptance
DONE = (native.QUEUED, native.WORKING, native.DONE)


class Received(NamedTuple):
    """What came with one call."""

    method: str
    id: str
    filename: str
    size: int
    traceparent: str
    peer: str


class Fake:
    """Keeps what it receives; `reply` decides what is answered, `states` what becomes of an image."""

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
        self.cut_at = 0  # bytes of an upload after which it goes and comes again, once
        self.given_up = threading.Event()  # an upload was, by its client
        self._limit = limit
        self.received: list[Received] = []
        self.watched: list[list[str]] = []
        self.names: dict[str, str] = {}  # of those that were accepted
        self.most = self.under_way = 0  # calls at a time
        self.port, self._host = port, host
        self.changed = asyncio.Event()  # states of `names` are to be told again to those who watch
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake producer")
        self._thread.start()

    def start(self) -> None:
        """Listen, again where it did before."""
        self.do(self._start())

    def stop(self) -> None:
        """Close all connections."""
        self.do(self._server.stop(None))

    def restart(self) -> None:
        """Go and come again."""
        self.do(self._restart())

    def change(self, states: Callable[[str], tuple[int, ...]]) -> None:
        """Let something else become of images, also of those that are watched now."""
        self.states = states
        self._loop.call_soon_threadsafe(self._tell)

    def do(self, work: Any) -> Any:
        """Run a coroutine on the fake's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def end(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _tell(self) -> None:
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
        one: dict[str, Any] = {
            "SendImage": unary(
                self._send_image, original.ImageRequest.FromString, original.ImageResponse.SerializeToString
            )
        }
        if self.services != "original":
            handlers = grpc.method_handlers_generic_handler("frota.images.Images", methods)
            self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("cloudimg.ImageService", one),))
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
                if 0 < self.cut_at <= size:
                    self.cut_at = 0
                    self._loop.create_task(self._restart())
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        if size != header.size:  # which is how the end of a call looks to one who reads
            self.given_up.set()
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"{header.size} announced, {size} came")
        return await self._answer("Upload", header.id, header.filename, size, context)

    async def _send_image(self, request: original.ImageRequest, context: Any) -> original.ImageResponse:
        received = _received("SendImage", "", request.filename, len(request.image_data), context)
        self.received.append(received)
        if reply := self.reply(received):
            assert isinstance(reply, tuple)
            return original.ImageResponse(success=False, message=reply[1])
        text = f"Imagem {request.filename} recebida, processamento iniciado."
        return original.ImageResponse(success=True, message=text)

    async def _answer(self, method: str, image: str, name: str, size: int, context: Any) -> native.Accepted:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            received = _received(method, image, name, size, context)
            self.received.append(received)
            reply = await asyncio.to_thread(self.reply, received)
        finally:
            self.under_way -= 1
        if isinstance(reply, tuple):
            await _abort(context, *reply)
        elif reply:
            await asyncio.to_thread(reply)
        self.names[image] = name
        return native.Accepted(id=image, trace_id=received.traceparent[3:35])

    async def _get_status(self, request: native.StatusRequest, _context: Any) -> native.StatusReply:
        return native.StatusReply(statuses=[self._status(one, self._now(one)[-1]) for one in request.ids])

    async def _watch(self, request: native.StatusRequest, _context: Any) -> AsyncIterator[native.Status]:
        self.watched.append(list(request.ids))
        while True:
            changed = self.changed
            for image in request.ids:
                for state in self._now(image):
                    yield self._status(image, state)
            if all(self._now(one)[-1] in (native.UNKNOWN, native.DONE, native.DEAD) for one in request.ids):
                return
            await changed.wait()

    def _now(self, image: str) -> tuple[int, ...]:
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
def fake(*arguments: Any, **options: Any) -> Iterator[Fake]:
    """Run a fake producer for the time of a block."""
    one = Fake(*arguments, **options)
    one.start()
    try:
        yield one
    finally:
        one.end()
