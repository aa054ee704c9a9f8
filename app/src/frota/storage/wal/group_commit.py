"""The write-ahead log for asyncio: append now; callbacks run in order once the records are durable.

One thread commits. While it writes and syncs one group, the next one collects: group commit as databases do it, where
all records that arrive during one sync share the next.
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

Callback = Callable[[Any, DiskFull | None], None]
_IDLE_S = 60.0  # how often the retention is applied to a log without appends


# A pending append: payload, time in µs, producer, sequence, callback and its argument. One without a payload is a
# barrier. A plain tuple, since there is one for every reading of every sensor.
Entry = tuple[bytes | None, int, bytes, int, Callback, Any]
Batch = list[Entry]


class WriteAheadLog:
    """Group commit to log files, which it owns. Use it from one event loop only.

    When the disk is full, everything appended before the loop learns of it fails too: a later record of a producer is
    never durable without the earlier one. Any other failure is passed to `fatal` once and no callback runs any more:
    after a failed sync the state of the disk is unknown.
    """

    def __init__(self, store: LogFiles, loop: asyncio.AbstractEventLoop, fatal: Callable[[Exception], None]) -> None:
        self._store, self._loop, self._fatal = store, loop, fatal
        self._pending: Batch = []
        self._queue: SimpleQueue[Batch | DiskFull | None] = SimpleQueue()
        self._failed: DiskFull | None = None  # set by the committing thread; the loop clears it through the queue
        self._commits = self._commits_seen = 0
        self._stopped: asyncio.Future[None] = loop.create_future()
        self.backlog = 0  # bytes appended that are not yet durable
        self.commits_total, self.commit_seconds_total = 0, 0.0  # durable groups of records
        self.position = store.position
        self.on_commit: Callable[[Batch], None] | None = None
        self._thread = Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def append(
        self, payload: bytes, callback: Callback, argument: Any, producer: bytes = NO_PRODUCER, sequence: int = 0
    ) -> None:
        """Append; then call callback(argument, None) on the loop, or callback(argument, DiskFull) if that failed."""
        self.backlog += len(payload)
        self._add((payload, time.time_ns() // 1000, producer, sequence, callback, argument))

    def barrier(self, callback: Callback, argument: Any) -> None:
        """Call callback(argument, None) on the loop after the callbacks of everything appended so far."""
        self._add((None, 0, NO_PRODUCER, 0, callback, argument))

    def last_sequence(self, producer: bytes) -> int:
        """Return the sequence number of the producer's last durable record, 0 if there is none."""
        return self._store.last_sequences.get(producer, 0)

    @property
    def size(self) -> int:
        """The size of all segments, in bytes."""
        return self._store.size

    def healthy(self) -> bool:
        """Tell whether something was committed since the last call, or nothing is pending."""
        progress = not self.backlog or self._commits != self._commits_seen
        self._commits_seen = self._commits
        return progress and not self._stopped.done()

    async def drain(self) -> None:
        """Wait until everything appended so far is durable or has failed; returns at once after `fatal`."""
        drained = self._loop.create_future()
        self.barrier(lambda future, _: future.done() or future.set_result(None), drained)
        await asyncio.wait((drained, self._stopped), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Commit what was appended, then close the files."""
        self._submit()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._store.close()

    def _add(self, entry: Entry) -> None:
        if not self._pending:
            # Deferred, so that what other connections sent in this iteration shares the commit.
            self._loop.call_soon(self._submit)
        self._pending.append(entry)

    def _submit(self) -> None:
        if self._pending:
            self._queue.put(self._pending)
            self._pending = []

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except Exception as error:  # noqa: BLE001 -- the edge of a thread: its end must not go unnoticed
            self._loop.call_soon_threadsafe(self._fail, error)

    def _step(self) -> bool:
        """Commit the pending entries; False after the last group."""
        try:
            item = self._queue.get(timeout=_IDLE_S)
        except Empty:
            self._store.apply_retention()
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
            sequences = [
                (producer, sequence) for _, _, producer, sequence, _, _ in group if producer is not NO_PRODUCER
            ]
            try:
                if records:
                    began = time.perf_counter()
                    self._store.commit(encode_commit(records), sequences)
                    self.commits_total += 1
                    self.commit_seconds_total += time.perf_counter() - began
            except DiskFull as error:
                self._failed = error
        self._commits += 1
        self._loop.call_soon_threadsafe(self._complete, group, self._failed, self._store.position)

    def _complete(self, group: Batch, failed: DiskFull | None, position: Position) -> None:
        self.position = position
        for payload, _, _, _, callback, argument in group:
            if payload is not None:
                self.backlog -= len(payload)
            try:
                callback(argument, failed if payload is not None else None)
            except Exception as error:  # noqa: BLE001 -- one failing callback must not prevent the others
                log.record("ERROR", "internal_error", "a commit's callback failed", error=error)
        if failed:
            self._submit()
            self._queue.put(failed)  # the loop knows of the failure; later appends are tried again
        if self.on_commit:
            self.on_commit([] if failed else group)

    def _fail(self, error: Exception) -> None:
        self._stopped.set_result(None)
        self._fatal(error)
