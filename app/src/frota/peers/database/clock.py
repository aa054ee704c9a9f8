"""The clock of the database, which all hosts share."""

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from frota.peers.database.columns import Moment


class now(FunctionElement[Any]):  # noqa: N801 -- an SQL function, as those of sqlalchemy.func
    """The present time in UTC, with microseconds; SQLite knows milliseconds."""

    type = Moment()
    inherit_cache = True


@compiles(now)
def _mariadb(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(now, "sqlite")
def _sqlite(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
