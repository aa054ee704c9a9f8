"""Slow workers: `python -m bench.peers.burst_workers COUNT SECONDS PORT…`, in one process until it is killed.

COUNT workers for each server on a port of loopback, which need SECONDS for a QUERY, and may be lent.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import uvloop

from frota.logs import log
from frota.peers.protocol.messages import Report, Task
from frota.peers.settings import SYSTEM, WORKER_UNIT, WorkerSettings
from frota.peers.worker.worker import PeerWorker

NOWHERE = Path("/nowhere")


class SlowAccounts:
    """Accounts that all have the balance 1.00; a query takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def query_balances(self, accounts: Iterable[str]) -> dict[str, Decimal | None]:
        """Return a balance for each account, slowly. Called in the worker's thread."""
        wanted = list(accounts)
        time.sleep(self._seconds * len(wanted))
        return dict.fromkeys(wanted, Decimal("1.00"))

    def apply_updates(self, updates: Sequence[Task], worker: str) -> list[Report]:
        """Reject updates: there are none."""
        raise NotImplementedError


async def main(count: int, seconds: float, ports: Sequence[int]) -> None:
    """Work until the process is killed. A worker that fails ends it."""
    for port in ports:
        for number in range(count):
            config = WorkerSettings(port=port, name=f"worker-{port}-{number}", state_dir=NOWHERE)
            await PeerWorker(config, SlowAccounts(seconds), os._exit).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    log.configure(SYSTEM, WORKER_UNIT, "WARNING")
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
