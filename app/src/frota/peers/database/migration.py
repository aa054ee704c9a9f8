"""Bring the schema of a database to the revision of this release."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from frota.peers.database.database import Database
from frota.peers.database.errors import DatabaseUnavailable, SchemaError

_LOCK = "frota_schema"
_LOCK_TIMEOUT_S, _LOCK_ATTEMPTS = 5, 24  # how long another host may take to migrate: two minutes


def upgrade(database: Database) -> bool:
    """Bring the schema to the newest revision; return whether anything was to be done.

    Hosts that start at the same time wait for each other: one migrates, the others find it done. Raises SchemaError for
    a schema that is newer than this release, DatabaseUnavailable, and what `Database.write` raises.
    """

    def migrate(connection: Connection) -> bool:
        with _locked(connection):
            if _revision(connection) == newest():
                return False
            _reject_unknown(connection)
            command.upgrade(_config(connection), "head")
            return True

    return database.write(migrate)


def downgrade(database: Database, revision: str) -> None:
    """Go back to an earlier revision, "base" to drop everything. Run it with the release that has the newer one."""

    def migrate(connection: Connection) -> None:
        with _locked(connection):
            _reject_unknown(connection)
            command.downgrade(_config(connection), revision)

    database.write(migrate)


def check(database: Database) -> None:
    """Raise SchemaError unless the schema has exactly the revision of this release."""

    def inspect(connection: Connection) -> None:
        found = _revision(connection)
        _reject_unknown(connection)
        if found != newest():
            raise SchemaError(
                f"The database's schema is {f'at revision {found}' if found else 'empty'}, this release requires "
                f"{newest()}. Run: frota peers migrate"
            )

    database.read(inspect)


def newest() -> str:
    """Return the revision of this release."""
    (head,) = ScriptDirectory.from_config(_config(None)).get_heads()
    return head


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", "frota.peers.database:migrations")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _reject_unknown(connection: Connection) -> None:
    found = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions()}
    if found and found not in known:
        raise SchemaError(
            f"The database's schema is at revision {found}, which is newer than this release ({newest()}). Install the "
            f"release that migrated it; or, with that release, run: frota peers migrate --to {newest()}"
        )


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    """Let one process migrate. An SQLite file is locked by the transaction itself (BEGIN IMMEDIATE)."""
    if connection.dialect.name == "sqlite":
        yield
        return
    get_lock = select(func.get_lock(_LOCK, _LOCK_TIMEOUT_S))
    if not any(connection.scalar(get_lock) for _ in range(_LOCK_ATTEMPTS)):
        minutes = _LOCK_TIMEOUT_S * _LOCK_ATTEMPTS / 60
        raise DatabaseUnavailable(f"Another process has been migrating the database for {minutes:g} minutes")
    try:
        yield
    finally:
        connection.execute(select(func.release_lock(_LOCK)))
