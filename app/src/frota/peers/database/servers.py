"""Which servers there are, since when each one has not been seen, and the fence against those that were replaced.

A server registers at its start and gets an epoch, a number that is larger at each start. Whoever takes over the tasks
of a server increases its epoch: its next write then fails with Superseded, and it registers again.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from frota.peers.database.columns import now
from frota.peers.database.database import Database
from frota.peers.database.errors import Superseded
from frota.peers.database.schema import servers

_LOCKED_EPOCH = select(servers.c.epoch).where(servers.c.id == bindparam("server")).with_for_update(read=True)


class Owner(NamedTuple):
    """A server that owns tasks, and its epoch."""

    server: str
    epoch: int


class ServerStore:
    """The servers of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, server: str) -> Owner:
        """Begin a new epoch of a server: all writes of its earlier epochs fail from now on."""

        def work(connection: Connection) -> Owner:
            known = connection.scalar(select(servers.c.epoch).where(servers.c.id == server).with_for_update())
            if known is None:
                connection.execute(insert(servers).values(id=server, epoch=1, seen_at=now()))
                return Owner(server, 1)
            changes = {"epoch": known + 1, "seen_at": now()}
            connection.execute(update(servers).where(servers.c.id == server).values(changes))
            return Owner(server, known + 1)

        try:
            return self._database.write(work)
        except IntegrityError:  # another process with this id has registered for the first time just now
            return self._database.write(work)

    def heartbeat(self, owner: Owner) -> None:
        """Say that a server is alive; several times within the peers' term. Raises Superseded."""

        def work(connection: Connection) -> None:
            itself = (servers.c.id == owner.server) & (servers.c.epoch == owner.epoch)
            if connection.execute(update(servers).where(itself).values(seen_at=now())).rowcount == 0:
                raise superseded(owner)

        self._database.write(work)


def fence(connection: Connection, owner: Owner) -> None:
    """Make sure until the end of the transaction that the owner is not replaced. Raises Superseded."""
    if connection.scalar(_LOCKED_EPOCH, {"server": owner.server}) != owner.epoch:
        raise superseded(owner)


def find_gone(connection: Connection, term_s: float) -> list[str]:
    """Return the servers that have not been seen for `term_s` seconds, by the clock of the database."""
    return list(connection.scalars(select(servers.c.id).where(servers.c.seen_at < limit(connection, term_s))))


def supersede_gone(connection: Connection, server: str, term_s: float) -> bool:
    """Fence a server off if it has not been seen for `term_s` seconds; return False if it has been."""
    gone = (servers.c.id == server) & (servers.c.seen_at < limit(connection, term_s))
    return connection.execute(update(servers).where(gone).values(epoch=servers.c.epoch + 1)).rowcount == 1


def limit(connection: Connection, term_s: float) -> datetime:
    """Return the time `term_s` seconds ago, by the clock of the database."""
    moment: datetime = connection.execute(select(now())).scalar_one()
    return moment - timedelta(seconds=term_s)


def superseded(owner: Owner) -> Superseded:
    """Return the error for a server of an earlier epoch."""
    return Superseded(f"Server {owner.server} was replaced since its epoch {owner.epoch}: it has to register again")
