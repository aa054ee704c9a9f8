"""Reads the collected journals with journalctl: a child that follows them for all viewers, and one for each trace."""

import asyncio
import os
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from frota.core.backoff import Backoff
from frota.logs import log
from frota.observer.dashboard.journal import FIELDS, Filter, Record, parse
from frota.observer.dashboard.viewers import Viewers

MISSING = "no journals are collected here yet"
_FIRST_RECORDS = 500  # read at the start
_KEPT_RECORDS = 5000  # for new viewers
_SHOWN_RECORDS = 200  # of these, to a new viewer
_READ_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 20
_LINGER_S = 60.0  # without a viewer, until the child ends
_TRACE_RECORDS, _TRACE_TIMEOUT_S, _MAX_TRACES = 2000, 15.0, 2
_MIN_RESTART_S, _MAX_RESTART_S = 1.0, 30.0
_LOW_DISK = 0.05


class TraceUnavailable(OSError):
    """A trace cannot be read: says why."""


class JournalReader:
    """The child, its last records, and its state for the page."""

    def __init__(self, folder: Path, viewers: Viewers, changed: Callable[[], None]) -> None:
        self._folder, self._viewers, self._changed = folder, viewers, changed
        self._recent: deque[Record] = deque(maxlen=_KEPT_RECORDS)
        self._traces = asyncio.Semaphore(_MAX_TRACES)
        self.error = ""
        self.records_total = 0

    def recent(self, selected: Filter) -> list[Record]:
        """Return the last records that a filter selects, oldest first."""
        found: list[Record] = []
        for record in reversed(self._recent):
            if selected.selects(record):
                found.append(record)
                if len(found) == _SHOWN_RECORDS:
                    break
        return found[::-1]

    def disk(self) -> dict[str, float] | None:
        """Return total and free bytes of the journals' disk, and whether little is left; None if it is unknown."""
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return None
        return {"total": usage.total, "free": usage.free, "low": usage.free < _LOW_DISK * usage.total}

    async def run(self) -> None:
        """Follow the journals while somebody sees them, for ever."""
        backoff = Backoff(_MIN_RESTART_S, _MAX_RESTART_S)
        while True:
            await self._viewers.wanted("journal")
            if not self._folder.is_dir():
                self._set_error(MISSING)
            else:
                self._set_error("")
                await self._follow()
            if self._viewers.wants("journal"):
                await asyncio.sleep(backoff.pause())  # no event tells that journals are there
            else:
                backoff.reset()

    async def trace(self, trace: str) -> list[Record]:
        """Return the records of a trace, oldest first. Raises TraceUnavailable."""
        if not self._folder.is_dir():
            raise TraceUnavailable(f"{self._folder} does not exist: no journals are collected here")
        async with self._traces:
            child = await self._start("--lines", str(_TRACE_RECORDS), f"TRACE_ID={trace}")
            try:
                async with asyncio.timeout(_TRACE_TIMEOUT_S):
                    records = [record async for record in _records(child)]
            except TimeoutError:
                raise TraceUnavailable(f"the journals were not searched within {_TRACE_TIMEOUT_S:.0f} s") from None
            finally:
                await _end(child)
        return sorted(records, key=lambda record: record.time_us)

    async def _follow(self) -> None:
        try:
            child = await self._start("--follow", "--lines", str(_FIRST_RECORDS))
        except OSError as error:
            self._set_error(f"journalctl cannot be started: {error.strerror}")
            return
        self._recent.clear()
        watching = asyncio.create_task(self._end_unseen(child))
        try:
            async for record in _records(child):
                self.records_total += 1
                self._recent.append(record)
                self._viewers.publish_records((record,))
        finally:
            watching.cancel()
            await _end(child)
        if self._viewers.wants("journal"):
            log.record(
                "WARNING", "journals_unavailable", f"journalctl of {self._folder} has ended; it is started again"
            )

    async def _end_unseen(self, child: asyncio.subprocess.Process) -> None:
        """End the child once nobody has seen journals for a while."""
        unseen_s = 0.0
        while unseen_s < _LINGER_S:
            await asyncio.sleep(1)
            unseen_s = 0 if self._viewers.wants("journal") else unseen_s + 1
        child.terminate()

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start journalctl; fields above 4 KiB are left out by it."""
        return await asyncio.create_subprocess_exec(
            "journalctl", f"--directory={self._folder}", "--output=json", "--quiet",
            f"--output-fields={','.join(FIELDS)}", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def _set_error(self, error: str) -> None:
        if error != self.error:
            self.error = error
            self._changed()


async def _records(child: asyncio.subprocess.Process) -> AsyncIterator[Record]:
    """Yield the records that a child prints; a line that is too long is skipped."""
    rest = b""
    while child.stdout and (data := await child.stdout.read(_READ_BYTES)):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if record := parse(line):
                yield record
        if len(rest) > _MAX_LINE_BYTES:
            rest = b""
        await asyncio.sleep(0)  # viewers first


async def _end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()
    await child.wait()
