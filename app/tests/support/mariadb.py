"""A real MariaDB, made by tools/database, with TLS."""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

from sqlalchemy import text

from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import Database, open_database
from frota.peers.database.errors import DatabaseUnavailable
from support.certificates import certificate
from support.pipeline import ROOT, Process, free_port

NAME = "frota"  # of the database, its user and its password


class MariaDb(Process):
    """MariaDB in a root directory below `folder`, which is created if there is none."""

    ending = signal.SIGKILL  # unshare(1), its parent process, ignores SIGTERM

    def __init__(self, folder: Path, state: Path) -> None:
        super().__init__(state)
        self._folder, self._tool = folder, ROOT / "tools" / "database"
        self.port = 10_000 + free_port() % 20_000  # below Linux's ephemeral ports: nobody else gets it during a restart
        self.state = state / "database"
        self.state.mkdir()
        self.ca_file, self.password_file = state / "ca.crt", state / "password"
        authority = certificate(state, "ca")
        certificate(self.state, "database", authority)
        self.password_file.touch(0o600)
        self.password_file.write_text(NAME, encoding="utf-8")

    def __enter__(self) -> Self:
        subprocess.run([self._tool, "build", self._folder], check=True)
        try:
            self.start()
        except BaseException:
            self.kill()  # or it would outlive the tests
            raise
        return self

    def command(self) -> list[str]:
        """Run it in the foreground, with TLS."""
        tls = ["--ssl-cert=/var/lib/mysql/database.crt", "--ssl-key=/var/lib/mysql/database.key"]
        return [str(self._tool), "run", str(self._folder), str(self.port), str(self.state), *tls]

    def ready(self) -> bool:
        """Return whether it executes a statement."""
        database = self.open(timeout_s=0)
        with suppress(DatabaseUnavailable):
            database.read(lambda connection: connection.execute(text("SELECT 1")))
            return True
        return False

    def restart(self) -> None:
        """Kill it with SIGKILL, and start it again: it recovers from its log."""
        self.kill()
        self.start()

    def config(self, host: str = "127.0.0.1", name: str = NAME, ca_file: Path | None = None) -> DatabaseConfig:
        """Return how to reach it."""
        address = f"mariadb://{NAME}@{host}:{self.port}/{name}"
        return DatabaseConfig(address, self.password_file, ca_file or self.ca_file)

    def open(self, timeout_s: float = 30.0) -> Database:
        """Return the database `frota` in it."""
        return open_database(self.config(), Path("/nowhere"), timeout_s)
