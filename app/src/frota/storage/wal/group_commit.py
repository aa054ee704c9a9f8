"""The log as asyncio code uses it: append now, hear later, in order, that it is on disk.

One thread commits. While it writes and syncs one group, the next one gathers: the group commit of databases, where
the cost of a sync is shared by all that arrived during the one before it.
"""

import asyncio
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from frota.logs import log
from frota.storage.wal.log import DiskFull, LogFiles, Position
from frota.storage.wal.segment import NO_PRODUCER, encode_commit, encode_record

Done = Callable[[Any, DiskFull | None], None]
_IDLE_SECONDS = 60.0  # how often a log that nobody appends to looks for what has become too old


# What waits to be durable: payload, time in µs, producer, number, done and its argument. Without a payload it waits for
# all before it, and no more. A plain tuple: there is one for every reading of every sensor.
Entry = tuple[bytes | None, int, bytes, int, Done, Any]
Batch = list[Entry]


class WriteAheadLog:
    """The front of a store, which it owns. Use it from one event loop only.

    After a commit that found no room, everything appended before the loop heard of it fails too: a later record of
    a producer is never durable without the earlier one. Any other failure is handed to `fatal` once, and nothing is
    answered any more: after a failed sync nobody knows what the disk holds.
    """

    def __init__(self, store: LogFiles, loop: asyncio.AbstractEventLoop, fatal: Callable[[Exception], None]) -> None:
        self._store, self._loop, self._fatal = store, loop, fatal
        self._gathered: Batch = []
        self._queue: SimpleQueue[Batch | DiskFull | None] = SimpleQueue()
        self._failed: DiskFull | None = None  # the committing thread's; taken back by the loop, through the queue
        self._commits = self._commits_seen = 0
        self._died: asyncio.Future[None] = loop.create_future()
        self.backlog = 0  # bytes appended and not yet durable
        self.position = store.position
        self.on_commit: Callable[[Batch], None] | None = None
        self._thread = Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def append(self, payload: bytes, done: Done, argument: Any, producer: bytes = NO_PRODUCER, number: int = 0) -> None:
        """Keep `payload`; then call done(argument, None) on the loop, or done(argument, DiskFull) if it is not kept."""
        self.backlog += len(payload)
        self._add((payload, time.time_ns() // 1000, producer, number, done, argument))

    def barrier(self, done: Done, argument: Any) -> None:
        """Call done(argument, None) on the loop once everything appended so far has been answered."""
        self._add((None, 0, NO_PRODUCER, 0, done, argument))

    def last(self, producer: bytes) -> int:
        """Return the number of the producer's last durable record, 0 if there is none."""
        return self._store.marks.get(producer, 0)

    def healthy(self) -> bool:
        """Tell whether something was committed since the last call, or nothing waits to be."""
        progress = not self.backlog or self._commits != self._commits_seen
        self._commits_seen = self._commits
        return progress and not self._died.done()

    async def drain(self) -> None:
        """Wait until everything appended so far has been answered (which it never will be after `fatal`)."""
        drained = self._loop.create_future()
        self.barrier(lambda future, _: future.done() or future.set_result(None), drained)
        await asyncio.wait((drained, self._died), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Commit what was appended, then give the files back."""
        self._hand_over()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._store.close()

    def _add(self, entry: Entry) -> None:
        if not self._gathered:
            # Not at once: what the other connections sent meanwhile shall share this commit.
            self._loop.call_soon(self._hand_over)
        self._gathered.append(entry)

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except Exception as error:  # noqa: BLE001 -- the edge of a thread: nobody else would hear that it is no more
            self._loop.call_soon_threadsafe(self._die, error)

    def _step(self) -> bool:
        """Commit what has gathered; False when that was the last."""
        try:
            item = self._queue.get(timeout=_IDLE_SECONDS)
        except Empty:
            self._store.retire()
            return True
        group: Batch = []
        while isinstance(item, list):
            group += item
            if self._queue.empty():
                break
            item = self._queue.get()
        if group:
            self._commit(group)
        if isinstance(item, DiskFull) and item is self._failed:
            self._failed = None
        return item is not None

    def _commit(self, group: Batch) -> None:
        if not self._failed:
            records = [encode_record(entry[0], *entry[1:4]) for entry in group if entry[0] is not None]
            marks = [(producer, number) for _, _, producer, number, _, _ in group if producer is not NO_PRODUCER]
            try:
                if records:
                    self._store.commit(encode_commit(records), marks)
            except DiskFull as error:
                self._failed = error
        self._commits += 1
        self._loop.call_soon_threadsafe(self._answer, group, self._failed, self._store.position)

    def _answer(self, group: Batch, failed: DiskFull | None, position: Position) -> None:
        self.position = position
        for payload, _, _, _, done, argument in group:
            if payload is not None:
                self.backlog -= len(payload)
            try:
                done(argument, failed if payload is not None else None)
            except Exception as error:  # noqa: BLE001 -- one caller's mistake must not cost the others their answer
                log.record("ERROR", "internal_error", "a commit's callback failed", error=error)
        if failed:
            self._hand_over()
            self._queue.put(failed)  # whoever appends from now on has heard of the failure
        if self.on_commit:
            self.on_commit([] if failed else group)

    def _die(self, error: Exception) -> None:
        self._died.set_result(None)
        self._fatal(error)
