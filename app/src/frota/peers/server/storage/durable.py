"""Durable mode: tasks and accounts in the database, each batch of a group commit in one transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from frota.peers.database.accounts import AccountStore
from frota.peers.database.database import Database
from frota.peers.database.servers import ServerStore
from frota.peers.database.tasks import Batch, TaskStore
from frota.peers.protocol.messages import BalanceChange, DeadTask, Report, Result, Task
from frota.peers.stored_tasks import Failure, StoredTask


class DatabaseStore:
    """Implements `store.Store` for one server, whose earlier processes can write nothing from now on.

    Its calls also raise Superseded, when another process has registered as this server or a peer has taken its tasks
    over: the server then has to start anew.
    """

    blocks = durable = True

    def __init__(self, database: Database, server: str) -> None:
        self._database = database
        self._tasks, self._accounts, self._servers = TaskStore(database), AccountStore(database), ServerStore(database)
        self._owner = self._servers.register(server)

    def write(self, new: Sequence[Task], failures: Sequence[Failure], reports: Sequence[Report]) -> set[str]:
        """See Store."""
        if not (new or failures or reports):
            return set()
        return self._tasks.write(Batch(new, (), failures, reports), self._owner)

    def results(self, ids: Sequence[str]) -> list[Result]:
        """See Store."""
        return self._tasks.results(ids)

    def load_waiting(self) -> Iterator[list[StoredTask]]:
        """See Store."""
        return self._tasks.load_waiting(self._owner.server)

    def dead_list(self, limit: int, after: str = "") -> list[DeadTask]:
        """See Store: the dead tasks of all servers."""
        return self._tasks.dead_list(limit, after)

    def retry(self, ids: Sequence[str]) -> list[StoredTask]:
        """See Store: dead tasks of any server wait at this one now."""
        return self._tasks.retry(ids, self._owner)

    def drop(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        return self._tasks.drop(ids)

    def query_balances(self, accounts: Iterable[str]) -> Mapping[str, Decimal | None]:
        """See Accounts."""
        return self._accounts.query_balances(accounts)

    def apply_updates(self, updates: Sequence[Task], worker: str) -> list[Report]:
        """See Accounts."""
        return self._accounts.apply_updates(updates, worker)

    def history(self, cpf: str, limit: int) -> list[BalanceChange]:
        """See Store."""
        return self._accounts.history(cpf, limit)

    def close(self) -> None:
        """See Store."""
        self._database.close()

    # What only a database requires

    def heartbeat(self) -> None:
        """Say that this server is alive, so that no peer takes its tasks over."""
        self._servers.heartbeat(self._owner)

    def take_over(self, term_s: float) -> list[StoredTask]:
        """Return tasks of servers gone for `term_s`, which are this server's now; repeat until there are none."""
        for server in self._tasks.find_gone(term_s):
            if server != self._owner.server and (moved := self._tasks.take_over(server, self._owner, term_s)):
                return moved
        return []

    def expire_results(self, age_s: float) -> int:
        """Delete results that are older; return how many; repeat until it returns 0."""
        return self._tasks.expire_results(datetime.now(UTC) - timedelta(seconds=age_s))
