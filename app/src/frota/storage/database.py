"""SQLite files that survive a crash: WAL mode, a sync at each commit, errors that name the file and a remedy."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REPAIR = "repair the file, or remove it to start empty"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _REPAIR,
    sqlite3.SQLITE_NOTADB: _REPAIR,
    sqlite3.SQLITE_FULL: "free disk space",
}


def connect(file: Path) -> sqlite3.Connection:
    """Open or create a database in autocommit mode; see `transaction`. Raises sqlite3.Error."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Execute the block as one transaction, with one sync at its end. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def explained(file: Path, error: Exception) -> OSError:
    """Return an SQLite error as an OSError with the file and, where known, what to do."""
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)  # the upper bits are an extended code
    return OSError(f"{file}: {error}{f'; {advice}' if advice else ''}")
