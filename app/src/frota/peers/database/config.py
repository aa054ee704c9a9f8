"""Which database, and how to reach it; every key is PEERS_ + the field's name in capitals."""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from frota.core import secret_file
from frota.core.settings import SettingsError, path, setting
from frota.net.tls import client_context

_PEM = "file (PEM) with "
_MARIADB = re.compile(
    r"mariadb://(?P<user>[\w.-]{1,80})@(?:\[(?P<ip>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d{1,5}))?/(?P<name>\w{1,64})",
    re.ASCII,
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORT = 3306


def parse_database(text: str) -> str:
    """Check `mariadb://USER@HOST[:PORT]/NAME`, or the path of a file. Raises ValueError with the expected form."""
    if "://" in text and not _MARIADB.fullmatch(text):
        hint = "; the password belongs in a file" if re.search(r"//[^/]*:[^/]*@", text) else ""
        raise ValueError(f"must be mariadb://USER@HOST:PORT/NAME, or the path of a file{hint}")
    return text


@dataclass(frozen=True)
class DatabaseConfig:
    """MariaDB over TLS, in clear text only on loopback; or an SQLite file."""

    database: str = setting(
        "", "mariadb://USER@HOST:PORT/NAME, or a file's path; empty: a file in the state folder", parse=parse_database
    )
    database_password_file: Path | None = setting(None, "file with the password of the database's user", parse=path)
    database_ca_file: Path | None = setting(None, _PEM + "the CA certificates of the database", parse=path)
    database_cert_file: Path | None = setting(None, _PEM + "a client certificate for the database", parse=path)
    database_key_file: Path | None = setting(None, _PEM + "the private key of that certificate", parse=path)

    def __post_init__(self) -> None:
        self.check_database()

    def check_database(self) -> None:
        """Raise ValueError if a file is missing in the settings."""
        if self.server and not self.database_ca_file and self.server[1] not in LOOPBACK:
            raise ValueError("PEERS_DATABASE_CA_FILE is missing: only a database on loopback is used without TLS")
        if (self.database_cert_file is None) != (self.database_key_file is None):
            raise ValueError("PEERS_DATABASE_CERT_FILE and PEERS_DATABASE_KEY_FILE: both, or neither")

    @property
    def server(self) -> tuple[str, str, int, str] | None:
        """The user, host, port and database's name in MariaDB; None for a file."""
        match = _MARIADB.fullmatch(self.database)
        if match is None:
            return None
        return match["user"], match["ip"] or match["host"], int(match["port"] or PORT), match["name"]

    @property
    def password_file(self) -> Path | None:
        """The password: the file that is set, else systemd's credential `database_password`, else none."""
        return self.database_password_file or secret_file.credential("database_password")

    def check_secrets(self) -> None:
        """Raise SettingsError for a secret that other users can read or replace."""
        for secret in filter(None, (self.password_file, self.database_key_file)):
            secret_file.check(secret)

    def password(self) -> str:
        """Return the password, "" without a file. Raises SettingsError."""
        if self.password_file is None:
            return ""
        secret_file.check(self.password_file)
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.password_file}: cannot be read: {error}") from None

    def tls(self) -> ssl.SSLContext | None:
        """Return how to verify the server: by its CA and its name; None for clear text. Raises SettingsError."""
        if self.database_ca_file is None:
            return None
        if self.database_key_file:
            secret_file.check(self.database_key_file)
        files = self.database_ca_file, self.database_cert_file, self.database_key_file
        return client_context("PEERS_DATABASE_", *files)
