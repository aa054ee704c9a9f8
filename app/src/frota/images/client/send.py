"""`frota images send`: sends many images in parallel and waits for each one's final status."""

import argparse
import asyncio
import os
from collections.abc import Iterator

from frota.core.errors import MalformedMessage, RequestRejected, WrongServer
from frota.core.settings import SettingsError
from frota.images import client_settings
from frota.images.client import files
from frota.images.client.client import Client, warn
from frota.images.client.files import BadFile, File
from frota.images.client.output import Report
from frota.images.client.rpc import Image
from frota.images.client.status_stream import StatusStream
from frota.images.messages import check_name
from frota.images.proto import images_pb2 as native
from frota.images.settings import SYSTEM
from frota.logs import log

UNIT = "frota-image-client"
_DRAW_INTERVAL_S = 0.1  # between two drawings of the progress bar
_LEGACY_NO_STATUS = "{} speaks the legacy protocol, which has no image status: not waiting for results"
_STATUS_HINT = "to see their status: frota images status ID…"
_COLLISION = "{} images are named {}: all are stored, all but one under a name with a hash ({})"


def run(args: argparse.Namespace) -> int:
    """Send images; return 0 if all are done (accepted, with --no-wait), else 1. Raises SettingsError."""
    log.configure(SYSTEM, UNIT)
    arguments = list(args.files or ())
    if arguments and client_settings.is_address(arguments[-1]) and not os.path.lexists(arguments[-1]):
        args.IMAGES_ADDRESS = arguments.pop()
    config = client_settings.read(args)
    if args.check:
        return 0
    if not arguments:
        raise SettingsError(f"{args.IMAGES_ADDRESS!r} is the server: name the images to send")
    skipped: list[File] = []
    selected = files.expand(arguments, skipped)
    for name, paths in files.collisions(selected):
        warn(_COLLISION.format(len(paths), name, ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")))
    report = Report(
        config.address, len(selected), sum(file.size for file in selected), as_json=args.json, wait=not args.no_wait
    )
    report.skipped(skipped)
    try:
        return asyncio.run(_send_all(config, selected, report, args.parallel, wait=not args.no_wait))
    except RequestRejected as error:  # the status request, not an image
        raise OSError(f"{config.address}: {error}") from None


async def _send_all(
    config: client_settings.ClientSettings, selected: list[File], report: Report, parallel: int, *, wait: bool
) -> int:
    async with Client(config) as client:
        return await SendJob(client, selected, report, wait=wait).run(parallel)


class SendJob:
    """The images of one command: sent in parallel, followed to their final status."""

    def __init__(self, client: Client, selected: list[File], report: Report, *, wait: bool) -> None:
        self._client, self._report, self._wait = client, report, wait
        self._count = len(selected)
        self._files: Iterator[File] = iter(selected)
        self._stream = StatusStream(client, self._changed)
        self._sending: dict[str, Image] = {}  # in doubt until answered
        self._accepted: dict[str, Image] = {}  # without a final status
        self._working: set[str] = set()
        self._senders = 0  # still running

    async def run(self, parallel: int) -> int:
        """Send and follow all images; return the exit status. Raises ServerUnavailable, WrongServer."""
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
                self._sending.clear()  # none can have arrived
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
        """Send one image after another until none is left."""
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
        del self._sending[image.id]  # not after a cancellation: then it stays in doubt
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
    """Return the image of a file. Raises BadFile."""
    if file.problem:
        raise BadFile(file.problem)
    try:
        return Image(file.path, check_name(file.name), files.size_of(file.path))
    except MalformedMessage as error:
        raise BadFile(str(error)) from None


async def _cancelled(*tasks: "asyncio.Task[None]") -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
