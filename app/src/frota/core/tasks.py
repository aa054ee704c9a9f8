"""Tasks that live as long as their service."""

import asyncio
from collections.abc import Callable, Coroutine

from frota.logs import log


def essential(work: Coroutine[None, None, None], end: Callable[[int], None]) -> "asyncio.Task[None]":
    """Start what a service cannot be without: if it fails, the log says so and `end` ends the process."""

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            log.record("CRITICAL", "internal", "what the service cannot be without has failed, so it ends", error=error)
            end(1)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task
