"""Migrations: forward, back, once, and by the right release; each test on SQLite and on MariaDB."""

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from frota.peers.database import migration, migrations, revision
from frota.peers.database.accounts import Account, AccountStore
from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import Database, open_database
from frota.peers.database.errors import SchemaError
from frota.peers.database.schema import metadata


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseConfig]:
    """Give an empty database without tables."""
    if request.param == "sqlite":
        yield DatabaseConfig(str(tmp_path / "peers.db"))
        return
    mariadb = request.getfixturevalue("mariadb")
    mariadb.open().write(lambda connection: connection.execute(text("CREATE DATABASE empty CHARACTER SET utf8mb4")))
    yield mariadb.config(name="empty")
    mariadb.open().write(lambda connection: connection.execute(text("DROP DATABASE empty")))


@pytest.fixture
def empty(config: DatabaseConfig) -> Iterator[Database]:
    """Open it."""
    database = open_database(config, Path())
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    return set(database.read(lambda connection: inspect(connection).get_table_names()))


def test_migrations_create_the_schema(empty: Database) -> None:
    """After all migrations the database has exactly the tables, columns, types and indexes of `schema`."""
    assert migration.upgrade(empty) is True
    options = {"compare_type": True, "compare_server_default": True}
    differences = empty.read(
        lambda connection: compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    )
    assert differences == []
    revision.check(empty)


def test_second_upgrade_changes_nothing(empty: Database) -> None:
    """What is there stays."""
    migration.upgrade(empty)
    AccountStore(empty).create([Account("Ana", "1" * 11, Decimal("1.00"))])
    assert migration.upgrade(empty) is False
    assert AccountStore(empty).query_balances(["1" * 11]) == {"1" * 11: Decimal("1.00")}


def test_way_back_and_forward(empty: Database) -> None:
    """Each revision can be undone and repeated."""
    for _ in range(2):
        migration.upgrade(empty)
        assert tables(empty) == {*metadata.tables, "alembic_version"}
        migration.downgrade(empty, "base")
        assert tables(empty) == {"alembic_version"}


def test_interrupted_migration_is_completed(empty: Database) -> None:
    """MariaDB has no transactions for tables: one that a killed migration has left is no obstacle."""
    migration.upgrade(empty)
    empty.write(lambda c: (c.execute(text("DELETE FROM alembic_version")), c.execute(text("DROP TABLE servers"))))
    migration.upgrade(empty)
    assert tables(empty) == {*metadata.tables, "alembic_version"}


def test_hosts_that_start_at_once_migrate_once(config: DatabaseConfig, empty: Database) -> None:
    """One migrates, the others wait and find it done."""
    done: list[object] = []

    def start() -> None:
        database = open_database(config, Path())
        try:
            done.append(migration.upgrade(database))
        except Exception as error:  # noqa: BLE001 -- shown by the assertion
            done.append(error)
        database.close()

    for _ in range(4):
        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, done)) == ["False"] * 5 + ["True"]
        revision.check(empty)
        migration.downgrade(empty, "base")
        done.clear()


def test_schema_of_another_release_is_rejected(empty: Database) -> None:
    """An empty or older schema is to be migrated, a newer one requires the newer release: the error says so."""
    with pytest.raises(SchemaError, match=r"is empty.*Run: frota peers migrate"):
        revision.check(empty)
    migration.upgrade(empty)
    empty.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    for use in (revision.check, migration.upgrade, lambda database: migration.downgrade(database, "base")):
        with pytest.raises(SchemaError, match="9999, which is newer than this release"):
            use(empty)
    assert "tasks" in tables(empty)


def test_unknown_revision_is_named(empty: Database) -> None:
    """The way back leads to a revision that there is."""
    migration.upgrade(empty)
    with pytest.raises(SchemaError, match="'0000'"):
        migration.downgrade(empty, "0000")
    revision.check(empty)


def test_revisions_ascend_in_one_line() -> None:
    """The newest is that of `revision`, and each one is larger than the one before it, also as text."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [revision.REVISION]
    names = [entry.revision for entry in script.walk_revisions()]
    assert names == sorted(names, reverse=True)
