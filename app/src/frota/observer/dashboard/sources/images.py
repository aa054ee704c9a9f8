"""Images that operators send from the page: sent by the images' client, followed to their result."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# The children that read journals are executed at once. gRPC's handlers for forks would only log each of them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import aiohttp

from frota.core import trace
from frota.core.errors import RequestRejected
from frota.images.client.client import Client
from frota.images.client.rpc import Image
from frota.images.client.status_stream import StatusStream
from frota.images.messages import check_name
from frota.images.proto import images_pb2 as native
from frota.logs import log
from frota.observer.dashboard.sources.clients import images_settings
from frota.observer.dashboard.sources.parts import Parts
from frota.observer.dashboard.sources.poller import EXPECTED
from frota.observer.settings import Endpoint

MAX_IMAGE_BYTES = 32 << 20
_MAX_IMAGES = 50  # on the page, of all viewers together
_MAX_RESULT_BYTES, _RESULT_TIMEOUT_S = 32 << 20, 15.0
_RETRY_S = 2.0
_STATES = {
    native.UNKNOWN: "unknown", native.QUEUED: "queued", native.WORKING: "working", native.DONE: "done",
    native.DEAD: "dead",
}  # fmt: skip
# What a browser shows, by how it begins; anything else is not passed on.
_MEDIA_TYPES = {
    b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp",
    b"BM": "image/bmp",
}  # fmt: skip


class Result(NamedTuple):
    """A converted image."""

    media_type: str
    data: bytes


class ResultUnavailable(OSError):
    """The result cannot be fetched: says why."""


class Images:
    """The images of the page; `changed` is called after each change of one."""

    def __init__(self, server: Endpoint, parts: Parts, changed: Callable[[dict[str, Any]], None]) -> None:
        self._server, self._parts, self._changed = server, parts, changed
        self._client: Client | None = None
        self._stream: StatusStream | None = None
        self._http: aiohttp.ClientSession | None = None
        self._images: dict[str, dict[str, Any]] = {}  # ordered by age
        self._added = asyncio.Event()

    def latest(self) -> list[dict[str, Any]]:
        """Return the images, oldest first."""
        return list(self._images.values())

    async def send(self, file: Path, name: str, size: int, user: str) -> dict[str, Any]:
        """Send an image, and follow it. Raises MalformedMessage, RequestRejected, BadFile, OSError, SettingsError."""
        image = Image(str(file), check_name(name), size, trace=trace.new_id())
        self._client = self._client or Client(images_settings(self._server), warn=lambda _: None)
        shown = {"id": image.id, "trace": image.trace, "name": name, "size": size, "user": user, "state": "sending"}
        self._note(shown)
        try:
            await self._client.send(image)
        except (RequestRejected, *EXPECTED) as error:
            self._note({**shown, "state": "rejected", "reason": str(error)})
            raise
        self._parts.ok("images")
        if self._images[image.id]["state"] == "sending":
            self._note({**shown, "state": "queued"})
        self._follow(image.id)
        return shown

    async def run(self) -> None:
        """Follow the images that were sent, for ever."""
        while True:
            await self._added.wait()
            if self._client is None or self._stream is None:
                self._added.clear()
                continue
            try:
                await self._stream.run()
            except (RequestRejected, *EXPECTED) as error:
                self._parts.unavailable("images", str(error))
                await asyncio.sleep(_RETRY_S)  # no event tells that the server is back
            self._restart_stream()

    async def result(self, image_id: str) -> Result:
        """Fetch the result of an image that is done. Raises ResultUnavailable."""
        url = self._images.get(image_id, {}).get("url", "")
        if not url.startswith(("http://", "https://")):
            raise ResultUnavailable("no result of this image is known here")
        self._http = self._http or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_RESULT_TIMEOUT_S))
        try:
            async with self._http.get(url, allow_redirects=False) as answer:
                data = await _body(answer)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ResultUnavailable(f"the object store does not answer: {error or 'no answer in time'}") from None
        media_type = next((kind for start, kind in _MEDIA_TYPES.items() if data.startswith(start)), "")
        if not media_type:
            raise ResultUnavailable("browsers cannot show a result of this format")
        return Result(media_type, data)

    async def close(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.channel.close()
        if self._http:
            await self._http.close()

    def _follow(self, image_id: str) -> None:
        if self._stream is None and self._client:
            self._stream = StatusStream(self._client, self._status)
        if self._stream:
            self._stream.add([image_id])
            self._added.set()

    def _restart_stream(self) -> None:
        """Follow what has no final state yet, over a new stream."""
        self._stream = None
        self._added.clear()
        for image_id, image in self._images.items():
            if image["state"] in ("queued", "working", "unknown"):
                self._follow(image_id)

    def _status(self, status: native.Status) -> None:
        known = self._images.get(status.id)
        if known is None:
            return
        fields = {"worker": status.worker, "url": status.url, "reason": status.reason, "changed": status.changed}
        state = _STATES.get(status.state, "unknown")
        self._note({**known, "state": state, **{name: value for name, value in fields.items() if value}})

    def _note(self, image: dict[str, Any]) -> None:
        self._images[image["id"]] = {"at": time.time(), **self._images.get(image["id"], {}), **image}
        while len(self._images) > _MAX_IMAGES:
            del self._images[next(iter(self._images))]
        self._changed(self._images[image["id"]])


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """Return the content of a response. Raises ResultUnavailable."""
    if answer.status != 200:
        raise ResultUnavailable(f"the object store answers {answer.status}: this host may not read the result")
    data = b""
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > _MAX_RESULT_BYTES:
            raise ResultUnavailable(f"the result is larger than {_MAX_RESULT_BYTES >> 20} MiB")
    return data


def log_sent(user: str, image: dict[str, Any]) -> None:
    """Log that an operator has sent an image."""
    text = f"{user} has sent the image {log.printable(image['name'])}"
    log.record("INFO", "image_sent", text, USER=user, TRACE_ID=image["trace"], IMAGE_ID=image["id"])
