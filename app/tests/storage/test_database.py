import sqlite3
from pathlib import Path

import pytest

from frota.storage import database


def test_transaction_is_atomic(tmp_path: Path) -> None:
    """A transaction is written whole or not at all."""
    connection = database.connect(tmp_path / "a.sqlite")
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
    with database.transaction(connection):
        connection.execute("INSERT INTO numbers VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError), database.transaction(connection):
        connection.executemany("INSERT INTO numbers VALUES (?)", [(2,), (1,)])
    assert database.connect(tmp_path / "a.sqlite").execute("SELECT number FROM numbers").fetchall() == [(1,)]


def test_commits_are_synced(tmp_path: Path) -> None:
    """Every commit is synced to the disk."""
    connection = database.connect(tmp_path / "a.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_error_names_file_and_fix(tmp_path: Path) -> None:
    """An error names the file and the fix."""
    file = tmp_path / "a.sqlite"
    file.write_bytes(b"no database in spite of its name" * 100)
    with pytest.raises(sqlite3.DatabaseError) as raised:
        database.connect(file)
    text = str(database.explained(file, raised.value))
    assert text == f"{file}: file is not a database; repair the file, or remove it to start empty"
