"""Whether the schema of a database is that of this release; without Alembic, whose import takes 12 MiB of memory."""

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from frota.peers.database.database import Database
from frota.peers.database.errors import SchemaError

REVISION = "0001"  # of this release; revisions ascend, as text too
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32)))


def check(database: Database) -> None:
    """Raise SchemaError unless the schema has exactly the revision of this release."""
    found = database.read(current)
    if found != REVISION:
        reject_newer(found)
        state = f"at revision {found}" if found else "empty"
        raise SchemaError(
            f"The database's schema is {state}, this release requires {REVISION}. Run: frota peers migrate"
        )


def current(connection: Connection) -> str:
    """Return the revision of the schema, "" for a database without tables."""
    if not inspect(connection).has_table(_VERSION.name):
        return ""
    return connection.scalar(select(_VERSION.c.version_num)) or ""


def reject_newer(found: str) -> None:
    """Raise SchemaError for a revision that a newer release has made: this one cannot know what it means."""
    if found > REVISION:
        raise SchemaError(
            f"The database's schema is at revision {found}, which is newer than this release ({REVISION}). Install the "
            f"release that migrated it; or, with that release, run: frota peers migrate --to {REVISION}"
        )
