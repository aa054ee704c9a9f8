"""Group commit: what happens to tasks while one transaction runs shares the next one.

One thread writes. An answer that promises something is given by a callback, after the commit. A store that does not
block is written on the event loop, once per turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from frota.core.backoff import Backoff
from frota.logs import log
from frota.peers.execution import execute
from frota.peers.protocol.messages import Report, Task
from frota.peers.server.storage.store import Store
from frota.peers.stored_tasks import Failure

T = TypeVar("T")
Accepted = Callable[[set[str] | OSError], None]
Finished = Callable[[list[Report]], None]
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 5.0


class Ending(NamedTuple):
    """A report that is to be a result; with `execute` the server executes the task first, for `worker`."""

    report: Report
    execute: Task | None = None
    worker: str = ""


@dataclass
class _Batch:
    """What the next transaction is to write."""

    accepts: list[tuple[Sequence[Task], Accepted]] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class _Outcome(NamedTuple):
    accepted: set[str] | OSError
    reports: list[Report]  # that are durable now
    unwritten: OSError | None  # why endings and failures are to be written again


class GroupCommit:
    """Writes to the store. `finished` gets the results that have become durable; `end` ends the service."""

    def __init__(self, store: Store, finished: Finished, end: Callable[[int], None]) -> None:
        self.store = store
        self._finished, self._end = finished, end
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, "commit")
        self._readers = ThreadPoolExecutor(2, "read")
        self._batch = _Batch()
        self._running: asyncio.Future[None] | None = None
        self._scheduled = False
        self._backoff = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)
        self.commits_total = self.errors_total = 0

    @property
    def backlog(self) -> int:
        """How many results and failures are not durable yet, those of the running commit not included."""
        return len(self._batch.endings) + len(self._batch.failures)

    def accept(self, tasks: Sequence[Task], done: Accepted) -> None:
        """Make tasks durable; then call done(the ids that were known before), or done(error)."""
        self._batch.accepts.append((tasks, done))
        self._schedule()

    def finish(self, endings: Sequence[Ending]) -> None:
        """Make results durable, however long it takes; then `finished` is called."""
        self._batch.endings += endings
        self._schedule()

    def fail(self, failures: Sequence[Failure]) -> None:
        """Make failed attempts durable, however long it takes."""
        self._batch.failures += failures
        self._schedule()

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call another method of the store. Raises what it raises."""
        if not self.store.blocks:
            return function(*arguments)
        return await self._loop.run_in_executor(self._readers, function, *arguments)

    async def drain(self) -> None:
        """Wait until everything is durable."""
        while self._running or self._scheduled:
            await (self._running or asyncio.sleep(0))

    def close(self) -> None:
        """Stop the threads, and close the store."""
        self._writer.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.store.close()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            if not self._running:
                self._loop.call_soon(self._begin)  # what else arrives in this turn of the loop shares the commit

    def _begin(self) -> None:
        self._scheduled = False
        batch, self._batch = self._batch, _Batch()
        if not self.store.blocks:
            self._complete(batch, _write(self.store, batch))
            return
        self._running = self._loop.create_future()
        written = self._loop.run_in_executor(self._writer, _write, self.store, batch)
        written.add_done_callback(lambda future: self._written(batch, future))

    def _written(self, batch: _Batch, future: "asyncio.Future[_Outcome]") -> None:
        if future.cancelled():
            return
        if error := future.exception():
            log.record("CRITICAL", "internal_error", "a commit failed; the service ends", error=error)
            self._end(1)
            return
        outcome = future.result()
        self._complete(batch, outcome)
        pause = self._pause(outcome)
        self._loop.call_later(pause, self._continue) if pause else self._continue()

    def _continue(self) -> None:
        running, self._running = self._running, None
        if self._scheduled:
            self._begin()
        if running:
            running.set_result(None)

    def _pause(self, outcome: _Outcome) -> float:
        if outcome.unwritten is None:
            self._backoff.reset()
            return 0.0
        self.errors_total += 1
        text = f"nothing is durable since the last commit, which is repeated: {outcome.unwritten}"
        log.record("ERROR", "commit_failed", text)
        return self._backoff.pause()

    def _complete(self, batch: _Batch, outcome: _Outcome) -> None:
        self.commits_total += 1
        if outcome.unwritten:
            self._batch.endings[:0] = batch.endings
            self._batch.failures[:0] = batch.failures
            self._scheduled = True
        elif outcome.reports:
            self._finished(outcome.reports)
        for _, done in batch.accepts:
            try:
                done(outcome.accepted)
            except Exception as error:  # noqa: BLE001 -- one failing callback must not prevent the others
                log.record("ERROR", "internal_error", "a commit's callback failed", error=error)


def _write(store: Store, batch: _Batch) -> _Outcome:
    """Write a batch; called in the thread if the store blocks."""
    new = [task for tasks, _ in batch.accepts for task in tasks]
    try:
        reports = _executed(store, batch.endings)
        return _Outcome(store.write(new, batch.failures, reports), reports, None)
    except OSError as error:
        return _Outcome(error, [], error)


def _executed(store: Store, endings: Sequence[Ending]) -> list[Report]:
    """Return the reports, after executing what the server has to execute."""
    reports = [ending.report for ending in endings if ending.execute is None]
    if len(reports) < len(endings):
        by_worker: dict[str, list[Task]] = {}
        for ending in endings:
            if ending.execute:
                by_worker.setdefault(ending.worker, []).append(ending.execute)
        for worker, tasks in by_worker.items():
            reports += execute(store, tasks, worker)
    return reports
