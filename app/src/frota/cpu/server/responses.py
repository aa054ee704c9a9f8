"""Responses to viewers: all hosts, or the history of one; and the tasks that send them."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from frota.core.errors import MalformedMessage
from frota.cpu import history_chunk, messages
from frota.cpu.framing import Query
from frota.cpu.server.history import History, StoredChunk
from frota.cpu.server.hosts import Hosts
from frota.logs import log
from frota.logs.log import printable

_BATCH = 20  # hosts, or chunks of history, encoded without a pause
_MAX_DAMAGED_CHUNKS = 1000  # whose damage is recorded as logged
_MAX_CONCURRENT = 8  # responses: each may take a few MiB
_END = orjson.dumps({"frota": messages.VERSION, "end": True}) + b"\n"


class Responses:
    """Answers queries; the history is read in a thread."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self._hosts, self._history = hosts, History(directory)
        self._thread = ThreadPoolExecutor(1, "replies")
        self._damaged: set[tuple[int, int]] = set()  # host and ordinal of chunks that are logged

    async def open(self) -> None:
        """Open the history. Raises OSError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._history.open)

    def close(self) -> None:
        """Close the history and stop the thread."""
        self._thread.submit(self._history.close)
        self._thread.shutdown()

    async def respond(self, query: Query) -> AsyncIterator[bytes]:
        """Yield the lines of a response, in chunks. Raises MalformedMessage, OSError."""
        if query.kind == "hosts":
            hosts, now = list(self._hosts), self._hosts.now()
            for start in range(0, len(hosts), _BATCH):
                yield b"".join(orjson.dumps(host.shown(now)) + b"\n" for host in hosts[start : start + _BATCH])
                await asyncio.sleep(0)  # other connections first
        else:
            async for lines in self._samples(query):
                yield lines
        yield _END

    async def _samples(self, query: Query) -> AsyncIterator[bytes]:
        host = self._hosts.get(query.host)
        if host is None:
            raise MalformedMessage(messages.UNKNOWN_HOST.format(query.host))
        since = self._hosts.now() - query.seconds
        last, newest = host.newest()  # both at once: no sample is between them, or in both
        loop, after = asyncio.get_running_loop(), 0
        while after < last:
            after, lines = await loop.run_in_executor(self._thread, self._read, host.row.id, since, after, last)
            if lines:
                yield lines
        if recent := [packed for packed in newest if history_chunk.moment(packed)[0] >= since]:
            yield history_chunk.line(recent)

    def _read(self, host: int, since: float, after: int, last: int) -> tuple[int, bytes]:
        """Return the lines of the next chunks behind ordinal `after`, and the ordinal that they reach."""
        chunks = self._history.chunks(host, since, after, last, _BATCH)
        after = chunks[-1].ordinal if len(chunks) == _BATCH else last
        return after, b"".join(self._line(host, stored, since) for stored in chunks)

    def _line(self, host: int, stored: StoredChunk, since: float) -> bytes:
        """Return the line of a chunk, b"" of a damaged one."""
        try:
            return _decompress(stored, since)
        except (zlib.error, ValueError, TypeError, LookupError) as error:
            if (host, stored.ordinal) not in self._damaged and len(self._damaged) < _MAX_DAMAGED_CHUNKS:
                self._damaged.add((host, stored.ordinal))
                text = f"{self._history.file}: chunk {stored.ordinal} of host {host} is damaged and skipped"
                log.record("ERROR", "history_corrupted", f"{text}: {printable(str(error))}")
            return b""


class ResponseTasks:
    """The tasks that send responses; `slots` limit how many do so at a time."""

    Task = asyncio.Task[None]

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._tasks: set[ResponseTasks.Task] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, sending: Coroutine[Any, Any, None]) -> Task:
        """Start to send a response."""
        task = asyncio.get_running_loop().create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """Cancel all of them, and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _decompress(stored: StoredChunk, since: float) -> bytes:
    line = zlib.decompress(stored.columns)
    if stored.began is not None and stored.began >= since:
        return line
    columns = orjson.loads(line)
    indices = [index for index, at in enumerate(columns["time"]) if at >= since]
    if not indices:
        return b""
    return orjson.dumps({name: [column[index] for index in indices] for name, column in columns.items()}) + b"\n"
