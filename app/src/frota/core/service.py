"""The life cycle of a service: start, readiness, watchdog, reload, graceful shutdown."""

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Protocol

import uvloop

from frota.core import systemd
from frota.core.errors import StateError
from frota.core.settings import SettingsError
from frota.logs import libraries, log

DEFAULT_STOP_TIMEOUT_S = 4.5  # a stop is promised within 5 s


class Service(Protocol):
    """The runner's view of a service."""

    async def start(self) -> str:
        """Start to serve; return a line for `systemctl status`. StateError and OSError end the process."""

    async def stop(self) -> None:
        """Stop accepting, finish what is in flight."""

    def healthy(self) -> bool:
        """Tell whether work progresses; only then is the watchdog notified."""

    def reload(self) -> None:
        """Reload the settings that can change live; SettingsError leaves all unchanged."""


Build = Callable[[Callable[[int], None]], Service]  # makes the service, given the function `end`


def run(build: Build, *, stop_timeout_s: float = DEFAULT_STOP_TIMEOUT_S) -> int:
    """Run the service that `build` makes until SIGTERM or SIGINT (status 0), or until it gives `end` a status."""
    libraries.capture()
    gc.set_threshold(20_000, 50, 50)  # most of a server's garbage is short-lived and acyclic
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_live(build, stop_timeout_s))


async def _live(build: Build, stop_timeout_s: float) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    service = build(end)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # until there is something to reload, ignore it
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
        await asyncio.wait_for(service.stop(), stop_timeout_s)
    except TimeoutError:
        log.record("WARNING", "stop_timeout", f"work in flight was not finished within {stop_timeout_s} s")
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
        log.record("INFO", "reloaded", "configuration reloaded")
    except SettingsError as error:
        log.record("ERROR", "reload_failed", f"configuration unchanged: {error}")
    systemd.notify("READY=1")
