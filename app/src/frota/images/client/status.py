"""`frota images status`: prints the status of images sent before."""

import argparse
import asyncio
from datetime import datetime

from frota.core.errors import RequestRejected
from frota.images import client_settings
from frota.images.client import output
from frota.images.client.client import Client
from frota.images.client.send import UNIT
from frota.images.client.status_stream import StatusStream
from frota.images.proto import images_pb2 as native
from frota.images.settings import SYSTEM
from frota.logs import log
from frota.logs.log import printable


def run(args: argparse.Namespace) -> int:
    """Print statuses; return 0, or 1 if an image is dead or unknown. Raises SettingsError, OSError."""
    log.configure(SYSTEM, UNIT)
    config = client_settings.read(args)
    if args.check:
        return 0
    try:
        return asyncio.run(_print_statuses(config, args))
    except RequestRejected as error:
        raise OSError(f"{config.address}: {error}") from None


async def _print_statuses(config: client_settings.ClientSettings, args: argparse.Namespace) -> int:
    ok = True

    def show(status: native.Status) -> None:
        nonlocal ok
        ok = ok and status.state not in (native.DEAD, native.UNKNOWN)
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
    return 0 if ok else 1


def line(status: native.Status) -> str:
    """Return a status as a line of text: `ID  NAME  done  URL`."""
    detail = {native.WORKING: status.worker, native.DONE: status.url, native.DEAD: status.reason}.get(status.state, "")
    since = datetime.fromtimestamp(status.changed).astimezone().isoformat(" ", "seconds") if status.changed else ""
    columns = status.id, status.filename or "-", output.STATES[status.state], detail, since
    return "  ".join(filter(None, columns))
