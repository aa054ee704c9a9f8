"""The MariaDB of the hosts, on loopback, in clear text: one for the run, with a new database for every measurement."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pymysql  # type: ignore[import-untyped]

from bench.core.chroot import ChrootServer
from bench.core.errors import InvalidRunError
from bench.core.machine import cpus
from bench.core.options import Options

NAME = "database"
USER = PASSWORD = "frota"  # noqa: S105 -- of tools/database, on loopback
CONNECT_TIMEOUT_S = 5
_numbers = count(1)


class MariaDb(ChrootServer):
    """The server."""

    name = NAME
    ports = range(12_700, 12_800)

    def responds(self) -> bool:
        """Return whether it executes a statement."""
        with suppress(pymysql.Error, OSError):
            self.execute("SELECT 1")
            return True
        return False

    def execute(self, statement: str) -> list[Any]:
        """Execute a statement, and return its rows. Raises pymysql.Error."""
        address = {"host": "127.0.0.1", "port": self.port, "connect_timeout": CONNECT_TIMEOUT_S}
        with (
            pymysql.connect(**address, user=USER, password=PASSWORD, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return list(cursor.fetchall())


@dataclass(frozen=True)
class Schema:
    """One database with the tables of the release, and example accounts."""

    server: MariaDb
    name: str
    password_file: Path

    @property
    def address(self) -> str:
        """The setting PEERS_DATABASE."""
        return f"mariadb://{USER}@127.0.0.1:{self.server.port}/{self.name}"

    @property
    def flags(self) -> list[str]:
        """The options of `frota peers`."""
        return ["--database", self.address, "--database-password-file", str(self.password_file)]

    def changes(self, cpf: str) -> tuple[int, int]:
        """Return the number of changes of an account's balance, and of the tasks that made them."""
        rows = self.server.execute(
            f"SELECT COUNT(*), COUNT(DISTINCT task_id) FROM {self.name}.balance_history h JOIN {self.name}.contas c "  # noqa: S608 -- constants
            f"ON c.id = h.account_id JOIN {self.name}.users u ON u.id = c.fk_id_user WHERE u.cpf = '{cpf}'"
        )
        return rows[0][0], rows[0][1]


@cache
def of_run(options: Options) -> MariaDb:
    """Return the MariaDB of a run, which may not have started yet."""
    return MariaDb(options)


@contextmanager
def new_schema(options: Options) -> Iterator[Schema]:
    """Yield a new database, and drop it at the end. Raises InvalidRunError."""
    server = of_run(options)
    server.start()
    server.set_cpus(cpus())
    password_file = options.folder / "password"
    password_file.touch(0o600)
    password_file.write_text(PASSWORD)
    schema = Schema(server, f"frota_{next(_numbers)}", password_file)
    server.execute(f"CREATE DATABASE {schema.name} CHARACTER SET utf8mb4")
    try:
        _migrate(options, schema)
        yield schema
    finally:
        server.execute(f"DROP DATABASE {schema.name}")


def _migrate(options: Options, schema: Schema) -> None:
    command = [str(options.frota), "peers", "migrate", "--examples", *schema.flags]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise InvalidRunError(f"the database cannot be migrated: {result.stderr.strip()}")
