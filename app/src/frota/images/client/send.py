"""`frota images send`: many images at once, each to its end."""

import argparse
import asyncio
import os
from collections.abc import Iterator

from frota.core.errors import WrongServer
from frota.core.settings import SettingsError
from frota.images import access
from frota.images.client import files
from frota.images.client.calls import Image
from frota.images.client.client import Client, RequestRejected, warn
from frota.images.client.files import BadFile, File
from frota.images.client.output import Report
from frota.images.client.status_stream import StatusStream
from frota.images.messages import InvalidMessage, check_name
from frota.images.proto import images_pb2 as native
from frota.images.settings import SYSTEM
from frota.logs import log

UNIT = "frota-image-client"
_DRAW_INTERVAL_S = 0.1  # seconds between two pictures of the bar
_LEGACY_NO_STATUS = "{} is one of the original's: it does not tell what becomes of an image, so nobody waits"
_STATUS_HINT = "what became of them says: frota images status ID…"
_COLLISION = "{} images are named {}: all are kept, and all results but one get a name with a hash ({})"


def run(args: argparse.Namespace) -> int:
    """Send images: 0 if all were done (or accepted, where nobody waits), 1 if not. Raises SettingsError."""
    log.configure(SYSTEM, UNIT)
    words = list(args.files or ())
    if words and access.is_address(words[-1]) and not os.path.lexists(words[-1]):
        args.IMAGES_ADDRESS = words.pop()
    config = access.read(args)
    if args.check:
        return 0
    if not words:
        raise SettingsError(f"{args.IMAGES_ADDRESS!r} is the server; which images?")
    skipped: list[File] = []
    found = files.expand(words, skipped)
    for name, paths in files.collisions(found):
        warn(_COLLISION.format(len(paths), name, ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")))
    report = Report(
        config.address, len(found), sum(one.size for one in found), as_json=args.json, wait=not args.no_wait
    )
    report.skipped(skipped)
    try:
        return asyncio.run(_send_all(config, found, report, args.parallel, wait=not args.no_wait))
    except RequestRejected as error:  # not an image: our question what becomes of them
        raise OSError(f"{config.address}: {error}") from None


async def _send_all(
    config: access.ClientSettings, found: list[File], report: Report, parallel: int, *, wait: bool
) -> int:
    async with Client(config) as client:
        return await Sending(client, found, report, wait=wait).run(parallel)


class Sending:
    """The images of one command on their way."""

    def __init__(self, client: Client, found: list[File], report: Report, *, wait: bool) -> None:
        self._client, self._report, self._wait = client, report, wait
        self._count = len(found)
        self._files: Iterator[File] = iter(found)
        self._stream = StatusStream(client, self._changed)
        self._sending: dict[str, Image] = {}  # nobody knows yet whether they are accepted
        self._accepted: dict[str, Image] = {}  # and not at their end
        self._working: set[str] = set()
        self._senders = 0  # that are not at their end

    async def run(self, parallel: int) -> int:
        """Send and follow them all; 0 if all went well. Raises ServerUnavailable, WrongServer."""
        self._senders = min(parallel, self._count)
        work = [asyncio.create_task(self._send_some()) for _ in range(self._senders)]
        work.append(asyncio.create_task(self._stream.run()))
        drawer = asyncio.create_task(self._draw())
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except BaseException as error:
            await _cancelled(*work, drawer)
            if isinstance(error, WrongServer):
                self._sending.clear()  # none can have got there
            self._report.interrupted(list(self._accepted.values()), list(self._sending.values()))
            self._report.summary(len(self._sending))
            if self._accepted or self._sending:
                warn(_STATUS_HINT)
            raise
        await _cancelled(drawer)
        self._report.summary()
        tally = self._report.tally
        return 0 if tally["done" if self._report.follows else "accepted"] == self._count else 1

    async def _send_some(self) -> None:
        """Send one after the other, until none is left."""
        for file in self._files:
            try:
                image = await asyncio.to_thread(_image, file)
            except BadFile as error:
                self._report.refused(file.path, "FILE", str(error))
                continue
            await self._send(image)
        self._senders -= 1
        if not self._senders:
            self._stream.complete()

    async def _send(self, image: Image) -> None:
        self._report.sending(image)
        self._sending[image.id] = image
        try:
            text = await self._client.send(image)
        except BadFile as error:
            self._report.refused(image.path, "FILE", str(error), image)
        except RequestRejected as error:
            self._report.refused(image.path, error.code, error.text, image)
        else:
            self._report.accepted(image, text, legacy=self._client.legacy)
            if not self._client.legacy and self._wait:
                self._accepted[image.id] = image
                self._stream.add([image.id])
        del self._sending[image.id]  # what ends us instead leaves it in doubt
        if self._client.legacy and self._report.follows:
            self._report.follows = False
            warn(_LEGACY_NO_STATUS.format(self._client.access.address))

    def _changed(self, status: native.Status) -> None:
        was_working = status.id in self._working
        (self._working.add if status.state == native.WORKING else self._working.discard)(status.id)
        self._report.changed(self._accepted[status.id], status, was_working=was_working)
        if status.state not in (native.QUEUED, native.WORKING):
            del self._accepted[status.id]

    async def _draw(self) -> None:
        while True:
            self._report.draw(self._client.sent)
            await asyncio.sleep(_DRAW_INTERVAL_S)


def _image(file: File) -> Image:
    """Return what is to be sent of a file. Raises BadFile."""
    if file.problem:
        raise BadFile(file.problem)
    try:
        return Image(file.path, check_name(file.name), files.size_of(file.path))
    except InvalidMessage as error:
        raise BadFile(str(error)) from None


async def _cancelled(*tasks: "asyncio.Task[None]") -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
