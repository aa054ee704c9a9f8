"""`frota images status`: what became of images that were sent before."""

import argparse
import asyncio
from datetime import datetime

from frota.images import access
from frota.images.client import output
from frota.images.client.client import Client, RequestRejected
from frota.images.client.send import UNIT
from frota.images.client.status_stream import StatusStream
from frota.images.proto import images_pb2 as native
from frota.images.settings import SYSTEM
from frota.logs import log
from frota.logs.log import printable


def run(args: argparse.Namespace) -> int:
    """Print what is known: 0, or 1 if an image is dead or unknown. Raises SettingsError and OSError."""
    log.configure(SYSTEM, UNIT)
    config = access.read(args)
    if args.check:
        return 0
    try:
        return asyncio.run(_ask(config, args))
    except RequestRejected as error:
        raise OSError(f"{config.address}: {error}") from None


async def _ask(config: access.ClientSettings, args: argparse.Namespace) -> int:
    good = True

    def show(status: native.Status) -> None:
        nonlocal good
        good = good and status.state not in (native.DEAD, native.UNKNOWN)
        if args.json:
            output.write(output.status_fields(status))
        else:
            print(printable(line(status)), flush=True)

    ids = list(dict.fromkeys(args.ids))
    async with Client(config) as client:
        if args.watch:
            stream = StatusStream(client, show, unknown_seconds=0)
            stream.add(ids)
            stream.complete()
            await stream.run()
        else:
            for status in await client.statuses(ids):
                show(status)
    return 0 if good else 1


def line(status: native.Status) -> str:
    """Return a status as people read it: `ID  NAME  done  URL`."""
    what = {native.WORKING: status.worker, native.DONE: status.url, native.DEAD: status.reason}.get(status.state, "")
    since = datetime.fromtimestamp(status.changed).astimezone().isoformat(" ", "seconds") if status.changed else ""
    words = status.id, status.filename or "-", output.STATES[status.state], what, since
    return "  ".join(word for word in words if word)
