"""Workers of frota, in one process: `python -m bench.peers.workers PORT COUNT [DATABASE PASSWORD_FILE]`.

They work until the process is killed. With a database, they read and change balances in it, as on the hosts; without,
they execute NOOP tasks only.
"""

import asyncio
import os
import sys
from pathlib import Path

import uvloop

from frota.logs import log
from frota.peers.database.accounts import AccountStore
from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import open_database
from frota.peers.execution import Accounts
from frota.peers.settings import SYSTEM, WORKER_UNIT, WorkerSettings
from frota.peers.worker.worker import PeerWorker

NOWHERE = Path("/nowhere")


async def main(port: int, count: int, accounts: Accounts | None) -> None:
    """Work until the process is killed. A worker that fails ends it."""
    for number in range(count):
        config = WorkerSettings(port=port, name=f"worker-{number}", state_dir=NOWHERE)
        await PeerWorker(config, accounts, os._exit).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    log.configure(SYSTEM, WORKER_UNIT, "WARNING")
    store = None
    if sys.argv[3:]:
        database = DatabaseConfig(database=sys.argv[3], database_password_file=Path(sys.argv[4]))
        store = AccountStore(open_database(database, NOWHERE))
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), store))
