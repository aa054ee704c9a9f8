"""The life of a long-running command: start, ready, watched, reloaded, stopped."""

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Protocol

import uvloop

from frota.core import systemd
from frota.core.errors import StateError
from frota.core.settings import SettingsError
from frota.logs import log

STOP_SECONDS = 4.5  # systemd and people expect the end within 5 s


class Service(Protocol):
    """What the runner needs of a service."""

    async def start(self) -> str:
        """Begin to serve; return a line for `systemctl status`. StateError and OSError end with their text."""

    async def stop(self) -> None:
        """Accept nothing new, finish what is in flight."""

    def healthy(self) -> bool:
        """Tell whether work progresses; the watchdog is fed only then."""

    def reload(self) -> None:
        """Re-read what can change live; SettingsError leaves everything as it was."""


Build = Callable[[Callable[[int], None]], Service]  # makes the service, given the function `end`


def run(build: Build) -> int:
    """Run the service that `build` makes until SIGTERM or SIGINT (status 0), or until it gives `end` a status."""
    gc.set_threshold(20_000, 50, 50)  # a server allocates much that dies young without ever being a cycle
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_live(build))


async def _live(build: Build) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    service = build(end)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # not the end, before there is something to reload
    try:
        status = await service.start()
    except (StateError, OSError) as error:
        log.record("ERROR", "start_failed", f"cannot start: {error}")
        return 1
    loop.add_signal_handler(signal.SIGHUP, _reload, service)
    systemd.notify("READY=1", f"STATUS={status}")
    feeder = loop.create_task(_feed_watchdog(service))
    code = await ended
    feeder.cancel()
    systemd.notify("STOPPING=1")
    try:
        await asyncio.wait_for(service.stop(), STOP_SECONDS)
    except TimeoutError:
        log.record("WARNING", "stop_timeout", f"not everything was finished within {STOP_SECONDS} s of the signal")
    return code


async def _feed_watchdog(service: Service) -> None:
    seconds = systemd.watchdog_seconds()
    while seconds:
        if service.healthy():
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 2)


def _reload(service: Service) -> None:
    systemd.reloading()
    try:
        service.reload()
        log.record("INFO", "reloaded", "configuration read again")
    except SettingsError as error:
        log.record("ERROR", "reload_failed", f"configuration left as it was: {error}")
    systemd.notify("READY=1")
