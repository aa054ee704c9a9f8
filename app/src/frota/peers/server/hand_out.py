"""Handing out tasks: once per turn of the event loop, in batches, shared equally among the workers that can take some.

Own workers come before borrowed ones, since only idle borrowed workers go home.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from frota.peers.lending.engine import Lending
from frota.peers.protocol import messages
from frota.peers.protocol.messages import NOOP, Message, Report
from frota.peers.tasks import Tasks


class Link(Protocol):
    """What is needed of a worker's connection."""

    @property
    def name(self) -> str:
        """The peer as HOST:PORT."""

    @property
    def secure(self) -> bool:
        """Whether the worker is authenticated."""

    def fits(self, kind: type[Message]) -> bool:
        """Tell whether a message of this kind may be sent now."""

    def send(self, message: Message) -> None:
        """Send."""

    def end(self, reason: str) -> None:
        """Close the connection at once; the reason is logged."""


class Worker:
    """A worker that is connected; one of dialect C between its polls, too."""

    __slots__ = ("borrowed", "capacity", "heard_at", "id", "link", "move", "native", "polls", "reported_at")

    def __init__(self, worker: str, link: Link, capacity: int, now: float, *, polls: bool = False) -> None:
        self.id, self.link, self.polls = worker, link, polls
        self.native = capacity > 0
        self.capacity = capacity or 1  # tasks at a time; 0 for one that takes no more
        self.borrowed = False
        self.move: Message | None = None  # a REDIRECT or RETURN that does not fit yet
        self.heard_at = self.reported_at = now


class HandOut:
    """Hands tasks out. `done` gets the report of a task that the server executes in a legacy worker's place."""

    def __init__(self, tasks: Tasks, lending: Lending, done: Callable[[str, Report], None]) -> None:
        self._tasks, self._lending, self._done = tasks, lending, done
        self._loop = asyncio.get_running_loop()
        self._own: dict[str, Worker] = {}  # that can take tasks, in their turn
        self._borrowed: dict[str, Worker] = {}
        self._scheduled = False
        self.handed_out_total = self.batches_total = 0

    def offer(self, worker: Worker) -> None:
        """Note that a worker can take tasks."""
        if not worker.polls and worker.capacity:
            (self._borrowed if worker.borrowed else self._own)[worker.id] = worker
            self.schedule()

    def withdraw(self, worker: Worker) -> None:
        """Note that a worker cannot take tasks."""
        self._own.pop(worker.id, None)
        self._borrowed.pop(worker.id, None)

    def schedule(self) -> None:
        """Hand out in this turn of the loop, after all that has arrived in it."""
        if not self._scheduled and self._tasks.waiting and (self._own or self._borrowed):
            self._scheduled = True
            self._loop.call_soon(self._run)

    def poll(self, worker: Worker) -> None:
        """Answer a worker of dialect C: with a task, or that there is none."""
        if not self._lending.may_get_tasks(worker.id) or not self._give(worker, 1):
            worker.link.send(messages.NoTask())

    def _run(self) -> None:
        self._scheduled = False
        for available in (self._own, self._borrowed):
            if not self._tasks.waiting:
                return
            share = -(-self._tasks.waiting // len(available)) if available else 0
            for worker in list(available.values()):
                self._serve(worker, share, available)
                if not self._tasks.waiting:
                    break

    def _serve(self, worker: Worker, share: int, available: dict[str, Worker]) -> None:
        del available[worker.id]
        free = worker.capacity - self._tasks.held_by(worker.id)
        if free > 0 and worker.link.fits(messages.Tasks) and self._lending.may_get_tasks(worker.id):
            free -= self._give(worker, min(free, share))
            if free > 0 and worker.native:
                available[worker.id] = worker  # at the end: the others first

    def _give(self, worker: Worker, count: int) -> int:
        """Hand up to `count` tasks to a worker; return how many it got."""
        now = self._loop.time()
        handed = self._tasks.hand_out(worker.id, count, now)
        if not worker.native:
            while handed and handed[0].payload.kind == NOOP:  # type: ignore[attr-defined]  # the payload is a message's task
                self._done(worker.id, Report(True, handed[0].id))  # a legacy worker does not know it
                handed = self._tasks.hand_out(worker.id, count, now)
        if not handed:
            return 0
        self._lending.worker_busy(worker.id, now)
        self.handed_out_total += len(handed)
        self.batches_total += 1
        payloads = tuple([task.payload for task in handed])
        worker.link.send(messages.Tasks(payloads, self._tasks.policy.lease_s))  # type: ignore[arg-type]  # as above
        return len(handed)
