"""What MariaDB and SQLite do differently: the types of columns, exact on both, and the time."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, Numeric, String
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

# A number that the database assigns in ascending order. SQLite only does so for its own integer type.
Serial = BigInteger().with_variant(Integer, "sqlite")


def ascii_key(length: int) -> TypeEngine[str]:
    """Return the type of ids of exactly `length` ASCII characters: a byte each, compared as bytes."""
    return String(length).with_variant(mysql.CHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")


def exact_text(length: int) -> TypeEngine[str]:
    """Return the type of Unicode text of at most `length` characters, compared as bytes, as SQLite does."""
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin")
    return String(length).with_variant(exact, "mysql", "mariadb")


class Money(TypeDecorator[Decimal]):
    """Money with two decimal places: numeric(12,2), and whole cents in SQLite, which has no decimal numbers."""

    impl = Numeric(12, 2)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type for a database."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else Numeric(12, 2))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Return what is stored. Raises ValueError for more than two places: nothing is rounded."""
        if value is None:
            return None
        cents = value.scaleb(2)
        if cents != int(cents):
            raise ValueError(f"{value} has more than 2 decimal places")
        return int(cents) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the amount with two places."""
        return Decimal(value).scaleb(-2) if dialect.name == "sqlite" and value is not None else value


class Moment(TypeDecorator[datetime]):
    """A time with microseconds, stored in UTC without a zone: datetime(6), and ISO 8601 text in SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type for a database."""
        return dialect.type_descriptor(DateTime() if dialect.name == "sqlite" else mysql.DATETIME(fsp=6))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- SQLAlchemy's signature
        """Return the time in UTC, without the zone. Raises ValueError for a time without a zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- SQLAlchemy's signature
        """Return the time with its zone."""
        return value and value.replace(tzinfo=UTC)


class now(FunctionElement[Any]):  # noqa: N801 -- an SQL function, as those of sqlalchemy.func
    """The present time in UTC by the clock of the database, which all hosts share; SQLite knows milliseconds."""

    type = Moment()
    inherit_cache = True


@compiles(now)
def _mariadb(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(now, "sqlite")
def _sqlite(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
