"""Statements for many rows: in parts, and with a value of its own for each row."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Delete, Update, bindparam, case, update

MAX_ROWS = 256  # of a statement: the database compares each row with the branches of a CASE, one after another

T = TypeVar("T")


def parts(rows: Sequence[T], size: int = MAX_ROWS) -> Iterator[Sequence[T]]:
    """Return the rows in parts of at most `size`."""
    return (rows[at : at + size] for at in range(0, len(rows), size))


def any_of(column: Column[Any], parameter: str = "keys") -> ColumnElement[bool]:
    """Return the condition that a column has one of the values that a parameter gets with each execution."""
    return column.in_(bindparam(parameter, expanding=True, type_=column.type))


def execute(connection: Connection, statement: Update | Delete, keys: Sequence[Any], **others: Any) -> int:
    """Execute a statement with the condition `any_of` for all keys, in parts; return how many rows changed."""
    return sum(connection.execute(statement, {"keys": part, **others}).rowcount for part in parts(keys))


def set_each(
    connection: Connection,
    target: Column[Any],
    values: Mapping[Any, Any],
    condition: ColumnElement[bool],
    **others: Any,
) -> int:
    """Set a column to the value for each primary key, and others to one value for all; return how many rows changed.

    Only rows that match the condition change. In statements of up to MAX_ROWS rows.
    """
    changed = 0
    for part in parts(list(values.items())):
        size = 1 << (len(part) - 1).bit_length()  # few sizes: each is another statement, which is compiled once
        parameters = dict(others, keys=[key for key, _ in part])
        for number, (key, value) in enumerate([*part, *[part[-1]] * (size - len(part))]):
            parameters[f"k{number}"], parameters[f"v{number}"] = key, value
        changed += connection.execute(_set_each(target, condition, size, tuple(others)), parameters).rowcount
    return changed


@cache
def _set_each(target: Column[Any], condition: ColumnElement[bool], size: int, others: tuple[str, ...]) -> Update:
    table = target.table
    (key,) = table.primary_key
    branches = [
        (key == bindparam(f"k{number}", type_=key.type), bindparam(f"v{number}", type_=target.type))
        for number in range(size)
    ]
    values = {name: bindparam(name, type_=table.c[name].type) for name in others}
    values[target.name] = case(*branches, else_=target)  # type: ignore[assignment] # an expression, too
    return update(table).where(any_of(key), condition).values(values)
