"""Statements that MariaDB executes for root over its socket, for modules that run on its host."""

from collections.abc import Iterable
from typing import Any

COMMAND = ["mariadb", "--no-defaults", "--batch", "--skip-column-names"]


class SqlFault(Exception):
    """The database rejects a statement, or does not run; the text is the module's error message."""


def quoted(text: str) -> str:
    """Return a text as an SQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


class Client:
    """Executes SQL through the command `mariadb`. Every method raises SqlFault."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def execute(self, statements: Iterable[str]) -> None:
        """Execute statements in their order, up to the first that fails."""
        self._run("".join(f"{statement};\n" for statement in statements))

    def rows(self, query: str) -> list[list[str]]:
        """Return the rows of a query; its values must be without tabs and newlines."""
        return [line.split("\t") for line in self._run(f"{query};\n").splitlines()]

    def has_database(self, name: str) -> bool:
        """Return whether there is a database of this name."""
        return [name] in self.rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")

    def tables(self, database: str) -> list[str]:
        """Return the names of a database's tables."""
        rows = self.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
        )
        return [table for schema, table in rows if schema == database]

    def _run(self, sql: str) -> str:
        if not sql:
            return ""
        code, out, err = self._module.run_command(COMMAND, data=sql)
        if code:
            raise SqlFault(f"the database rejects a statement: {(err or out).strip()}")
        return str(out)
