"""Tasks that run as long as their service."""

import asyncio
from collections.abc import Callable, Coroutine

from frota.logs import log


class EssentialTasks:
    """Tasks without which a service cannot work: the failure of one is logged and `end` ends the process."""

    def __init__(self, end: Callable[[int], None]) -> None:
        self._end = end
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *coroutines: Coroutine[None, None, None]) -> None:
        """Start coroutines that run until `cancel`."""
        self._tasks += [essential(coroutine, self._end) for coroutine in coroutines]

    def alive(self) -> bool:
        """Tell whether all of them run."""
        return not any(task.done() for task in self._tasks)

    async def cancel(self) -> None:
        """Cancel them and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def essential(work: Coroutine[None, None, None], end: Callable[[int], None]) -> "asyncio.Task[None]":
    """Start a task whose failure ends the service; it may finish before the service does."""

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            log.record("CRITICAL", "internal_error", "an essential task failed; the service ends", error=error)
            end(1)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task
