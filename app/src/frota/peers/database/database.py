"""Connections and transactions: open a database, and execute a transaction until it succeeds or a deadline passes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from frota.core.backoff import Backoff
from frota.peers.database import errors
from frota.peers.database.config import DatabaseConfig
from frota.storage import database as sqlite

DEFAULT_FILE = "peers.db"
DEFAULT_TIMEOUT_S = 30.0  # of a transaction, with all its attempts
_CONNECT_TIMEOUT_S = 5.0
_RESPONSE_TIMEOUT_S = 60.0  # for a server that is gone without a word
_MAX_LOCK_WAIT_S = 10
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.01, 1.0
_READ_ONLY = {"read_only": True}

T = TypeVar("T")


class Database:
    """A database. Its transactions may run in several threads, each with a connection of its own."""

    def __init__(self, engine: Engine, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.engine, self.timeout_s = engine, timeout_s
        self.retries = 0  # attempts that failed and were repeated
        self._reader = engine.execution_options(**_READ_ONLY)
        self._closing = threading.Event()

    def write(self, work: Callable[[Connection], T], timeout_s: float | None = None) -> T:
        """Execute `work` as one transaction, again after deadlocks and lost connections.

        After a lost connection it is unknown whether the transaction took place: `work` has to bear a repetition.
        Raises DatabaseUnavailable after `timeout_s`, DatabaseRejects, and OSError for an unusable SQLite file.
        """
        return self._execute(self.engine, work, timeout_s)

    def read(self, work: Callable[[Connection], T], timeout_s: float | None = None) -> T:
        """Execute `work`, which only reads; as `write`."""
        return self._execute(self._reader, work, timeout_s)

    def close(self) -> None:
        """Close all connections; a transaction that waits for its next attempt ends with DatabaseUnavailable."""
        self._closing.set()
        self.engine.dispose()

    def _execute(self, engine: Engine, work: Callable[[Connection], T], timeout_s: float | None) -> T:
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        backoff = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except exc.DBAPIError as error:
                if not errors.is_retried(error):
                    raise self._explained(error) from error
                pause = backoff.pause()
                if time.monotonic() + pause > deadline or self._closing.wait(pause):
                    raise errors.DatabaseUnavailable(f"The database is unavailable: {error.orig}") from error
                self.retries += 1

    def _explained(self, error: exc.DBAPIError) -> Exception:
        if errors.is_rejected(error):
            return errors.DatabaseRejects(f"Cannot use the database: {error.orig}")
        if self.engine.name == "sqlite" and error.orig and not isinstance(error, exc.IntegrityError | exc.DataError):
            return sqlite.explained(Path(str(self.engine.url.database)), error.orig)
        return error


def open_database(config: DatabaseConfig, state_folder: Path, timeout_s: float = DEFAULT_TIMEOUT_S) -> Database:
    """Return the configured database; it connects with the first transaction. Raises SettingsError."""
    file = Path(config.database or state_folder / DEFAULT_FILE)
    engine = _mariadb(config, timeout_s) if config.server else _sqlite(file, timeout_s)
    return Database(engine, timeout_s)


def _mariadb(config: DatabaseConfig, timeout_s: float) -> Engine:
    """Connect with the password that the file has at that moment, so that a new one requires no restart.

    READ COMMITTED: locks only rows, not the gaps between them, and each statement sees what others have committed.
    """
    user, host, port, name = config.server or ("", "", 0, "")
    lock_wait_s = max(1, min(_MAX_LOCK_WAIT_S, int(timeout_s / 3)))
    engine = create_engine(
        URL.create("mariadb+pymysql", user, host=host, port=port, database=name, query={"charset": "utf8mb4"}),
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # errors are logged: they must not have names and balances
        pool_reset_on_return=None,  # each transaction ends with COMMIT or ROLLBACK: another ROLLBACK is a round trip
        skip_autocommit_rollback=True,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": _RESPONSE_TIMEOUT_S,
            "write_timeout": _RESPONSE_TIMEOUT_S,
            # TRADITIONAL: what does not fit is an error, whatever the server's default.
            "init_command": f"SET sql_mode = 'TRADITIONAL', innodb_lock_wait_timeout = {lock_wait_s}",
        },
    )
    tls = config.tls()

    @event.listens_for(engine, "do_connect")
    def complete(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        parameters["password"] = config.password()
        if tls:
            parameters["ssl"] = tls
        else:
            parameters["ssl_disabled"] = True

    return engine


def _sqlite(file: Path, timeout_s: float) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        hide_parameters=True,
        pool_reset_on_return=None,
        connect_args={"timeout": min(timeout_s, 5.0)},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins no transaction by itself; see `begin`
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.cursor().execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Lock for writing at the beginning: a lock that is taken later may fail although nobody else waits."""
        reads = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
