"""What a server does in the database now and then: its heartbeat, tasks of servers that are gone, old results."""

import asyncio
from collections.abc import Callable

from frota.logs.log import printable, record
from frota.peers.server.event_log import EventLog
from frota.peers.server.results import Results
from frota.peers.server.storage.durable import DatabaseStore
from frota.peers.server.storage.group_commit import GroupCommit
from frota.peers.settings import ServerSettings

_EXPIRE_EVERY_S = 60.0


class Housekeeping:
    """Runs as an essential task; `config` returns the settings, which a reload may change. Superseded ends it."""

    def __init__(
        self, store: DatabaseStore, results: Results, event_log: EventLog, config: Callable[[], ServerSettings]
    ) -> None:
        self._store, self._results, self._event_log, self._config = store, results, event_log, config
        self._commit: GroupCommit = results.commit
        self._expire_at = 0.0

    async def run(self) -> None:
        """Work several times within the term after which peers take over."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._commit.call(self._store.heartbeat)
                await self._take_over()
                if loop.time() >= self._expire_at:
                    self._expire_at = loop.time() + _EXPIRE_EVERY_S
                    await self._expire()
            except OSError as error:
                record("WARNING", "database_unavailable", f"it is tried again: {printable(str(error))}")
            await asyncio.sleep(self._config().takeover_after_s / 5)

    async def _take_over(self) -> None:
        while moved := await self._commit.call(self._store.take_over, self._config().takeover_after_s):
            self._results.restore(moved)
            self._event_log.taken_over(len(moved))

    async def _expire(self) -> None:
        while count := await self._commit.call(self._store.expire_results, self._config().stored_results_s):
            self._event_log.expired_total += count
