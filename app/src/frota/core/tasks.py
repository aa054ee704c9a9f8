"""Tasks that live as long as their service."""

import asyncio
from collections.abc import Callable, Coroutine

from frota.logs import log


class EssentialTasks:
    """The tasks that a service cannot be without: if one fails, the log says so and `end` ends the process."""

    def __init__(self, end: Callable[[int], None]) -> None:
        self._end = end
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *works: Coroutine[None, None, None]) -> None:
        """Start work that goes on until `cancel`."""
        self._tasks += [essential(work, self._end) for work in works]

    def alive(self) -> bool:
        """Tell whether every one of them goes on."""
        return not any(task.done() for task in self._tasks)

    async def cancel(self) -> None:
        """Cancel them; return when they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def essential(work: Coroutine[None, None, None], end: Callable[[int], None]) -> "asyncio.Task[None]":
    """Start one task that a service cannot be without, and that may end before it."""

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            log.record("CRITICAL", "internal_error", "an essential task failed; the service ends", error=error)
            end(1)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task
