import sqlite3
from pathlib import Path

import pytest

from frota.storage import database


def test_a_transaction_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    connection = database.connect(tmp_path / "a.sqlite")
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
    with database.transaction(connection):
        connection.execute("INSERT INTO numbers VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError), database.transaction(connection):
        connection.executemany("INSERT INTO numbers VALUES (?)", [(2,), (1,)])
    assert database.connect(tmp_path / "a.sqlite").execute("SELECT number FROM numbers").fetchall() == [(1,)]


def test_every_commit_is_synced(tmp_path: Path) -> None:
    connection = database.connect(tmp_path / "a.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_an_error_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    file.write_bytes(b"no database at all, whatever its name says" * 100)
    with pytest.raises(sqlite3.DatabaseError) as raised:
        database.connect(file)
    said = str(database.explained(file, raised.value))
    assert said == f"{file}: file is not a database; repair the file, or remove it to start empty"
