"""The errors of the database: whose fault each one is, and whether another attempt helps."""

from sqlalchemy.exc import DBAPIError

from frota.core.errors import ConnectionRejected, ServerUnavailable, StateError


class DatabaseUnavailable(ServerUnavailable):
    """The database cannot be reached, or locks what a transaction requires, until the deadline."""


class DatabaseRejects(ConnectionRejected):
    """The database rejects this client: user, password, certificate, rights or the database's name are wrong."""


class SchemaError(StateError):
    """The schema is older or newer than this release: says what to do."""


class Superseded(Exception):
    """Another process has registered as this server, or a peer has taken over its tasks: register again."""


# https://mariadb.com/kb/en/mariadb-error-codes/
_RETRIED = {
    1020,  # a row has changed since the transaction read it
    1053,  # the server shuts down
    1205,  # lock wait timeout
    1213,  # deadlock: this transaction was rolled back
    1040, 1203, 1226,  # too many connections
    1317, 1927, 3024,  # an administrator, or a limit, ended the query or connection
    1836, 1290,  # read-only, as a database that fails over
    2002, 2003, 2006, 2013, 2014, 2055,  # no server, or the connection is lost
}  # fmt: skip
_REJECTED = {1044, 1045, 1049, 1130, 1142, 1143, 1227, 1251, 1698, 2026, 2059}
_SQLITE_RETRIED = {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED: another process writes


def is_retried(error: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed at another attempt."""
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE_RETRIED
    return code(error) in _RETRIED and not is_rejected(error)


def is_rejected(error: DBAPIError) -> bool:
    """Tell whether the server rejects this client, or the client the server's certificate."""
    return code(error) in _REJECTED or "CERTIFICATE_VERIFY_FAILED" in str(error.orig)


def code(error: DBAPIError) -> int:
    """Return MariaDB's number of an error, 0 if it has none."""
    arguments = error.orig.args if error.orig else ()
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0
