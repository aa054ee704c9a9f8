"""The databases of the tests: an SQLite file, and a real MariaDB, made by tools/database (marker `mariadb`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from frota.peers.database import migration
from frota.peers.database.accounts import AccountStore
from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import Database, open_database
from frota.peers.database.servers import ServerStore
from frota.peers.database.tasks import TaskStore


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Give a migrated database without a row."""
    if request.param == "sqlite":
        opened = open_database(DatabaseConfig(), tmp_path)
        migration.upgrade(opened)
    else:
        opened = request.getfixturevalue("mariadb").open()
    yield opened
    opened.close()


@pytest.fixture
def tasks(database: Database) -> TaskStore:
    """Give the tasks of that database."""
    return TaskStore(database)


@pytest.fixture
def servers(database: Database) -> ServerStore:
    """Give the servers of that database."""
    return ServerStore(database)


@pytest.fixture
def accounts(database: Database) -> AccountStore:
    """Give the accounts of that database."""
    return AccountStore(database)
