"""What a server does in the database now and then."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from frota.peers.protocol.messages import DONE, NOOP, UNKNOWN, Task
from frota.peers.server.status import metrics
from frota.peers.server.storage.durable import DatabaseStore
from frota.peers.server.storage.housekeeping import Housekeeping
from support import TIMEOUT_S
from support.peers import serving, submit, working


def test_old_results_are_deleted_and_counted(tmp_path: Path) -> None:
    """Results that are older than the settings say are deleted from the database, and counted."""

    async def play() -> list[Any]:
        async with serving(tmp_path, durable=True, keep_results_s=0.0) as server, working(server, "w"):
            ids = await submit(server, [Task(NOOP)] * 3)
            await server.results.results(ids, TIMEOUT_S)
            store = server.commit.store
            assert isinstance(store, DatabaseStore)
            assert [result.state for result in store.results(ids)] == [DONE] * 3
            old = replace(server.settings, stored_results_s=-1.0)
            await Housekeeping(store, server.results, server.event_log, lambda: old)._expire()
            assert [result.state for result in store.results(ids)] == [UNKNOWN] * 3
            return [metric.read() for metric in metrics(server.parts) if "expired" in metric.name]

    assert asyncio.run(play()) == [3]
