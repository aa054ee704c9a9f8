"""The fleet's certificates; a real MariaDB, made by tools/database (marker `mariadb`)."""

from collections.abc import Iterator

import pytest

from frota.peers.database import migration
from frota.peers.database.schema import metadata
from support.mariadb import MariaDb
from support.peers import Certificates
from support.pipeline import ROOT


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make the certificates of a fleet."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def session_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """Run MariaDB for all tests."""
    with MariaDb(ROOT / ".local" / "database", tmp_path_factory.mktemp("mariadb")) as mariadb:
        yield mariadb


@pytest.fixture
def mariadb(session_mariadb: MariaDb) -> MariaDb:
    """Give a MariaDB that is up and has empty tables."""
    if session_mariadb.process.poll() is not None:
        session_mariadb.start()
    database = session_mariadb.open()
    migration.upgrade(database)
    for table in reversed(metadata.sorted_tables):
        database.write(lambda connection, table=table: connection.execute(table.delete()))  # type: ignore[misc]
    database.close()
    return session_mariadb
