"""What a store has of tasks, in memory or in the database. No I/O."""

from datetime import datetime
from typing import NamedTuple

from frota.peers.protocol.messages import Task


class StoredTask(NamedTuple):
    """A task without a result."""

    task: Task
    attempts: int = 0  # failed ones
    holder: str = ""  # the worker that had the lease last, as far as it was written down; it may still report
    accepted_at: datetime | None = None  # None in memory


class Failure(NamedTuple):
    """A failed attempt, the `attempts`-th one; with `dead` the last one."""

    id: str
    attempts: int
    reason: str
    dead: bool = False
