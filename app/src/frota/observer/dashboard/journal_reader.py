"""Reads the collected journals with journalctl: a child for each host that follows its file, and one for each trace.

One child for all files would order by time, and skip records that arrive later than newer ones of another host.
"""

import asyncio
import os
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from frota.logs import log
from frota.observer.dashboard.journal import FIELDS, Filter, Record, parse
from frota.observer.dashboard.viewers import Viewers

MISSING = "no journals are collected here yet"
_FIRST_RECORDS = 200  # of a host, read at the start
_KEPT_RECORDS = 5000  # for new viewers
_SHOWN_RECORDS = 200  # of these, to a new viewer
_READ_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 20
_TRACE_RECORDS, _TRACE_TIMEOUT_S, _MAX_TRACES = 2000, 15.0, 2
_SCAN_S = 1.0  # between two looks for new files
_LINGER_SCANS = 60  # without a viewer, until the children end
_RESTART_SCANS = 10  # between two attempts to follow a file whose child has ended
_MAX_FILES = 200  # that are followed at the same time
_LOW_DISK = 0.05


class TraceUnavailable(OSError):
    """A trace cannot be read: says why."""


class JournalReader:
    """The children, the last records, and the state for the page."""

    def __init__(self, folder: Path, viewers: Viewers, changed: Callable[[], None]) -> None:
        self._folder, self._viewers, self._changed = folder, viewers, changed
        self._recent: deque[Record] = deque(maxlen=_KEPT_RECORDS)
        self._traces = asyncio.Semaphore(_MAX_TRACES)
        self._following: dict[int, asyncio.Task[None]] = {}  # by the inode of the file
        self.error = ""
        self.records_total = 0

    def recent(self, selected: Filter) -> list[Record]:
        """Return the last records that a filter selects, oldest first."""
        found = sorted(filter(selected.selects, self._recent), key=lambda record: record.time_us)
        return found[-_SHOWN_RECORDS:]

    def disk(self) -> dict[str, float] | None:
        """Return total and free bytes of the journals' disk, and whether little is left; None if it is unknown."""
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return None
        return {"total": usage.total, "free": usage.free, "low": usage.free < _LOW_DISK * usage.total}

    async def run(self) -> None:
        """Follow the journals while somebody sees them, for ever."""
        while True:
            await self._viewers.wanted("journal")
            self._recent.clear()
            try:
                await self._follow_all()
            finally:
                for task in self._following.values():
                    task.cancel()
                await asyncio.gather(*self._following.values(), return_exceptions=True)
                self._following.clear()

    async def trace(self, trace: str) -> list[Record]:
        """Return the records of a trace, oldest first. Raises TraceUnavailable."""
        if not self._folder.is_dir():
            raise TraceUnavailable(f"{self._folder} does not exist: no journals are collected here")
        async with self._traces:
            child = await self._start(f"--directory={self._folder}", f"--lines={_TRACE_RECORDS}", f"TRACE_ID={trace}")
            try:
                async with asyncio.timeout(_TRACE_TIMEOUT_S):
                    records = [record async for record in _records(child)]
            except TimeoutError:
                raise TraceUnavailable(f"the journals were not searched within {_TRACE_TIMEOUT_S:.0f} s") from None
            finally:
                await _end(child)
        return sorted(records, key=lambda record: record.time_us)

    async def _follow_all(self) -> None:
        """Follow every file, also those that appear meanwhile, until nobody has seen journals for a while."""
        unseen = scans = 0
        gone: set[int] = set()
        while unseen < _LINGER_SCANS:
            files = _active(self._folder)
            self._set_error(_trouble(self._folder, files))
            for inode in gone - files.keys():
                self._following.pop(inode).cancel()  # rotated before the last scan, so that it is read to its end
            gone = self._following.keys() - files.keys()
            self._start_missing(files, scans)
            await asyncio.sleep(_SCAN_S)
            unseen = 0 if self._viewers.wants("journal") else unseen + 1
            scans += 1

    def _start_missing(self, files: dict[int, Path], scans: int) -> None:
        """Follow new files, at the first scan from their last records on; try others again from time to time."""
        for inode, file in files.items():
            if inode not in self._following:
                lines = "--no-tail" if scans else f"--lines={_FIRST_RECORDS}"
            elif self._following[inode].done() and scans % _RESTART_SCANS == 0:
                lines = "--lines=0"
            else:
                continue
            self._following[inode] = asyncio.create_task(self._follow(file, lines))

    async def _follow(self, file: Path, lines: str) -> None:
        """Follow a file until journalctl ends."""
        try:
            child = await self._start(f"--file={file}", "--follow", lines)
        except OSError as error:
            self._set_error(f"journalctl cannot be started: {error.strerror}")
            return
        try:
            async for record in _records(child):
                self.records_total += 1
                self._recent.append(record)
                self._viewers.publish_records((record,))
        finally:
            await _end(child)
        log.record("WARNING", "journals_unavailable", f"journalctl of {file} has ended; it is started again")

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start journalctl; fields above 4 KiB are left out by it."""
        return await asyncio.create_subprocess_exec(
            "journalctl", "--output=json", "--quiet",
            f"--output-fields={','.join(FIELDS)}", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def _set_error(self, error: str) -> None:
        if error != self.error:
            self.error = error
            self._changed()


def _trouble(folder: Path, files: dict[int, Path]) -> str:
    """Return why there are no records, "" if there are files."""
    if not files and folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        return f"{folder} may not be read: the user of the dashboard needs the group systemd-journal"
    return "" if files else MISSING


def _active(folder: Path) -> dict[int, Path]:
    """Return the files that are written to, one of each host, by their inodes."""
    found: dict[int, Path] = {}
    try:
        for file in sorted(folder.glob("*.journal")):
            if "@" not in file.name and len(found) < _MAX_FILES:
                found[file.stat().st_ino] = file
    except OSError:  # rotated meanwhile; looked at again soon
        return found
    return found


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
