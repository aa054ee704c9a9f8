"""SQLite files that survive a crash: write-ahead log, a sync at each commit, errors that name file and remedy."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REPAIR = "repair the file, or remove it to begin anew"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _REPAIR,
    sqlite3.SQLITE_NOTADB: _REPAIR,
    sqlite3.SQLITE_FULL: "free space where it is",
}


def connect(file: Path) -> sqlite3.Connection:
    """Open a file, or make it; what is executed outside a `transaction` is one by itself. Raises sqlite3.Error."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all that the block executes, with one sync at its end, or nothing of it. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def explained(file: Path, error: Exception) -> OSError:
    """Return an error of SQLite's as one that says which file, and what to do where that is known."""
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)  # what is above are details
    return OSError(f"{file}: {error}{f'; {advice}' if advice else ''}")
