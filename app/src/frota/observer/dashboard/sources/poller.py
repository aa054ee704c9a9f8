"""Polls one source for all viewers, while somebody sees its topic."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from frota.core.backoff import Backoff
from frota.core.errors import StateError
from frota.core.settings import SettingsError
from frota.core.threads import Threads
from frota.logs import log
from frota.observer.dashboard.sources.parts import Parts
from frota.observer.dashboard.viewers import Viewers

T = TypeVar("T")
_MIN_RETRY_S, _MAX_RETRY_S = 0.5, 5.0
EXPECTED = (OSError, StateError, SettingsError)  # what an unavailable server causes


class Source(Protocol):
    """A part of the fleet. `latest` is what a new viewer gets, None for nothing."""

    name: str
    topic: str
    interval_s: float

    async def poll(self) -> Any:
        """Return what is to be published, None for nothing. Raises one of EXPECTED."""

    def latest(self) -> Any:
        """Return the whole present state."""


class Thread:
    """A thread for the blocking calls of one source, which do not delay the end of the process."""

    def __init__(self, name: str) -> None:
        self._threads = Threads(1, name)

    def run(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Run a function in the thread."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def close(self) -> None:
        """End the thread after its present call."""
        self._threads.close()


async def poll(source: Source, viewers: Viewers, parts: Parts) -> None:
    """Poll a source and publish what it returns, for ever."""
    backoff = Backoff(_MIN_RETRY_S, _MAX_RETRY_S)
    viewers.keep(source.topic, source.latest)
    while True:
        await viewers.wanted(source.topic)
        try:
            content = await source.poll()
        except EXPECTED as error:
            parts.unavailable(source.name, str(error) or type(error).__name__)
            await asyncio.sleep(backoff.pause())  # no event tells that the server is back
            continue
        except Exception as error:  # noqa: BLE001 -- the edge of a task: one source must not end the page
            log.record("ERROR", "internal_error", f"{source.name} cannot be shown", error=error)
            parts.unavailable(source.name, "internal error, see the journal of the dashboard")
            await asyncio.sleep(_MAX_RETRY_S)
            continue
        backoff.reset()
        parts.ok(source.name)
        if content is not None:
            viewers.publish(source.topic, content)
        await asyncio.sleep(source.interval_s)
