"""What the server needs of a store of tasks and accounts."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from frota.peers.execution import Accounts
from frota.peers.protocol.messages import BalanceChange, DeadTask, Report, Result, Task
from frota.peers.stored_tasks import Failure, StoredTask


class Store(Accounts, Protocol):
    """Tasks and accounts. Its calls raise OSError where it is unavailable; all of them can be repeated."""

    blocks: bool  # whether its calls wait for a disk or a network: they are then made in a thread
    durable: bool  # whether an accepted task survives the process

    def write(self, new: Sequence[Task], failures: Sequence[Failure], reports: Sequence[Report]) -> set[str]:
        """Write all of a batch at once, in this order; return the ids of new tasks that had been accepted before.

        A failed attempt makes its task wait again, or dead. The first result of a task counts.
        """

    def results(self, ids: Sequence[str]) -> list[Result]:
        """Return what is known of tasks, in the order of `ids`."""

    def load_waiting(self) -> Iterator[list[StoredTask]]:
        """Return the tasks of this server that have no result, the oldest first, in pages."""

    def dead_list(self, limit: int, after: str = "") -> list[DeadTask]:
        """Return dead tasks, the oldest first, after the task `after`."""

    def retry(self, ids: Sequence[str]) -> list[StoredTask]:
        """Make dead tasks wait again, with all attempts; return them."""

    def drop(self, ids: Sequence[str]) -> list[str]:
        """Delete dead tasks; return the ids of those that were dead."""

    def history(self, cpf: str, limit: int) -> list[BalanceChange]:
        """Return the newest changes of an account, the newest first."""

    def close(self) -> None:
        """Release files and connections."""
