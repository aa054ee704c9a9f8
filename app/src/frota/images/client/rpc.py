"""The RPCs of both services: one attempt over a given channel, with a timeout in seconds."""

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the client prints its own messages

import grpc
import grpc.aio

from frota.core.trace import from_environment, traceparent
from frota.images import messages
from frota.images.client import files
from frota.images.proto import cloudimg_pb2 as legacy
from frota.images.proto import images_pb2 as native
from frota.images.settings import MIB

if TYPE_CHECKING:
    T = TypeVar("T")
    _Single = grpc.aio.UnaryUnaryMultiCallable[bytes, T]

PART_BYTES = MIB  # of image data in one upload message


@dataclass(frozen=True)
class Image:
    """An image to send."""

    path: str
    name: str
    size: int  # bytes
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    trace: str = field(default_factory=from_environment)  # W3C trace id; TRACEPARENT's, if set

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The gRPC metadata of a call about this image (W3C Trace Context)."""
        return (("traceparent", traceparent(self.trace)),)


def send_request(image: Image) -> bytes:
    """Read an image and return its native request. Raises BadFile."""
    data = files.read_whole(image.path, image.size)
    return native.SendRequest(id=image.id, filename=image.name, image_data=data).SerializeToString()


def legacy_request(image: Image) -> bytes:
    """Read an image and return its legacy request. Raises BadFile."""
    data = files.read_whole(image.path, image.size)
    return legacy.ImageRequest(filename=image.name, image_data=data).SerializeToString()


async def send(image: Image, request: bytes, channel: grpc.aio.Channel, seconds: float) -> native.Accepted:
    """Send an image in one message. Raises grpc.aio.AioRpcError."""
    method: _Single[native.Accepted] = channel.unary_unary(_native("Send"), None, native.Accepted.FromString)
    return await method(request, timeout=seconds, metadata=image.metadata)


async def upload(
    image: Image, progress: Callable[[int], None], channel: grpc.aio.Channel, seconds: float
) -> native.Accepted:
    """Send an image in parts read from its file; `progress` gets bytes sent. Raises grpc.aio.AioRpcError, BadFile."""
    method = channel.stream_unary(_native("Upload"), native.UploadPart.SerializeToString, native.Accepted.FromString)
    header = native.UploadHeader(id=image.id, filename=image.name, size=image.size)
    with closing(await asyncio.to_thread(files.open_file, image.path)) as file:
        call = method(timeout=seconds, metadata=image.metadata)
        left = image.size
        try:
            await call.write(native.UploadPart(header=header))
            while left:
                data = await asyncio.to_thread(files.read_part, file, min(PART_BYTES, left))
                await call.write(native.UploadPart(data=data))
                left -= len(data)
                progress(len(data))
            await call.done_writing()
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            pass  # the server ended the call early: its response says why
        except BaseException:
            call.cancel()
            raise
        try:
            return await call
        except BaseException:
            progress(left - image.size)
            raise


async def send_legacy(image: Image, request: bytes, channel: grpc.aio.Channel, seconds: float) -> legacy.ImageResponse:
    """Send an image over the legacy protocol. Raises grpc.aio.AioRpcError."""
    path = f"/{messages.LEGACY_SERVICE}/SendImage"
    method: _Single[legacy.ImageResponse] = channel.unary_unary(path, None, legacy.ImageResponse.FromString)
    return await method(request, timeout=seconds, metadata=image.metadata)


async def get_status(ids: Sequence[str], channel: grpc.aio.Channel, seconds: float) -> native.StatusReply:
    """Query the status of images. Raises grpc.aio.AioRpcError."""
    path = _native("GetStatus")
    method = channel.unary_unary(path, native.StatusRequest.SerializeToString, native.StatusReply.FromString)
    return await method(native.StatusRequest(ids=ids), timeout=seconds)


def watch(ids: Sequence[str], channel: grpc.aio.Channel, seconds: float) -> Any:
    """Subscribe to the status of images; return the call (grpc.aio.UnaryStreamCall)."""
    path = _native("Watch")
    method = channel.unary_stream(path, native.StatusRequest.SerializeToString, native.Status.FromString)
    return method(native.StatusRequest(ids=ids), timeout=seconds)


def _native(method: str) -> str:
    return f"/{messages.NATIVE_SERVICE}/{method}"
