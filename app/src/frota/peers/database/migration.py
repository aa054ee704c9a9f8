"""Bring the schema of a database to the revision of this release."""

from collections.abc import Callable
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, func, select

from frota.peers.database.database import Database
from frota.peers.database.errors import DatabaseUnavailable, SchemaError
from frota.peers.database.revision import REVISION, current, reject_newer

_LOCK = "frota_schema"
_LOCK_TIMEOUT_S, _LOCK_ATTEMPTS = 5, 24  # how long another host may take to migrate: two minutes

T = TypeVar("T")


def upgrade(database: Database) -> bool:
    """Bring the schema to the revision of this release; return whether anything was to be done.

    Hosts that start at the same time wait for each other: one migrates, the others find it done. Raises SchemaError for
    a schema that is newer than this release, DatabaseUnavailable, and what `Database.write` raises.
    """

    def migrate(connection: Connection) -> bool:
        found = current(connection)
        reject_newer(found)
        if found != REVISION:
            command.upgrade(_config(connection), REVISION)
        return found != REVISION

    return _write_alone(database, migrate)


def downgrade(database: Database, revision: str) -> None:
    """Go back to an earlier revision, "base" to drop everything. Run it with the release that has the newer one.

    Raises SchemaError for a revision that there is not, and as `upgrade`.
    """

    def migrate(connection: Connection) -> None:
        reject_newer(current(connection))
        try:
            command.downgrade(_config(connection), revision)
        except CommandError as error:
            raise SchemaError(f"Revision {revision!r}: {error}") from error

    _write_alone(database, migrate)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "frota.peers.database:migrations")
    config.attributes["connection"] = connection
    return config


def _write_alone(database: Database, work: Callable[[Connection], T]) -> T:
    """Execute a transaction while no other process migrates. A transaction on an SQLite file is alone in any case.

    Another connection has the lock: it is released after the COMMIT.
    """
    if database.engine.name == "sqlite":
        return database.write(work)

    def locked(connection: Connection) -> T:
        get_lock = select(func.get_lock(_LOCK, _LOCK_TIMEOUT_S))
        if not any(connection.scalar(get_lock) for _ in range(_LOCK_ATTEMPTS)):
            minutes = _LOCK_TIMEOUT_S * _LOCK_ATTEMPTS / 60
            raise DatabaseUnavailable(f"Another process has been migrating the database for {minutes:g} minutes")
        try:
            return database.write(work)
        finally:
            connection.execute(select(func.release_lock(_LOCK)))

    return database.read(locked)
