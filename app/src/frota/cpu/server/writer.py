"""Writes what the agents sent to the disk, in a thread, and acknowledges it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from frota.cpu.server.agents import Agents
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.history import History
from frota.cpu.server.hosts import Hosts
from frota.cpu.settings import ServerSettings
from frota.logs import log

_STUCK_S = 20.0  # for one write; after that the watchdog is not fed


class HistoryWriter:
    """Commits every `commit_seconds`; `end` stops the process when the disk fails. Owns `history` from `open` on."""

    def __init__(
        self, history: History, hosts: Hosts, settings: ServerSettings, event_log: EventLog, end: Callable[[int], None]
    ) -> None:
        self.history, self.settings, self.failed = history, settings, False
        self._hosts, self._event_log, self._end = hosts, event_log, end
        self._thread = ThreadPoolExecutor(1, "history")
        self._writing_since = 0.0  # monotonic seconds, 0 between writes
        self.commits_total, self.commit_seconds_total = 0, 0.0
        self._stopping = asyncio.Event()

    async def open(self) -> None:
        """Open the history and load it into the hosts. Raises OSError."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self.history.open)
        self._hosts.restore(*await loop.run_in_executor(self._thread, self.history.load))

    async def run(self, agents: Agents, committed: Callable[[], None]) -> None:
        """Commit until `stop`, then once more; call `committed` after each commit."""
        stopping = False
        while not stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.commit_seconds):
                    await self._stopping.wait()
            stopping = self._stopping.is_set()
            try:
                await self._commit(agents)
            except OSError as error:
                log.record("CRITICAL", "disk_failed", f"{error}; nothing more is acknowledged, and the server ends")
                self.failed = True
                self._end(1)
                return
            committed()

    def stop(self) -> None:
        """Have `run` commit for the last time."""
        self._stopping.set()

    async def close(self) -> None:
        """Close the history."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.history.close)
        self._thread.shutdown()

    def healthy(self) -> bool:
        """Tell whether no write is stuck."""
        return not self._writing_since or time.monotonic() - self._writing_since <= _STUCK_S

    async def _commit(self, agents: Agents) -> None:
        """Write what has been received, then acknowledge it. Raises OSError."""
        changes = self._hosts.take_changes(self.settings.history_samples)
        acknowledgements = agents.take_acknowledgements()
        if changes.recent or changes.hosts or changes.chunks or changes.forgotten:
            self._writing_since = time.monotonic()
            writing = asyncio.get_running_loop().run_in_executor(self._thread, self.history.write, changes)
            if trimmed := await writing:
                self._event_log.trimmed(trimmed, self.settings.history_samples)
            self.commits_total += 1
            self.commit_seconds_total += time.monotonic() - self._writing_since
            self._writing_since = 0.0
            self._hosts.written()
        for connection, (kind, number) in acknowledgements.items():
            connection.write(b'{"frota":1,"%b":%d}\n' % (kind.encode(), number))
