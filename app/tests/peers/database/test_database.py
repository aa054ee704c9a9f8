"""Configuration and connections, without a database server."""

import socket
import sqlite3
import struct
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from frota.core.settings import SettingsError, read
from frota.peers.database import migration
from frota.peers.database.accounts import Account, AccountStore
from frota.peers.database.config import DatabaseConfig, parse_database
from frota.peers.database.database import open_database
from frota.peers.database.errors import DatabaseRejects, DatabaseUnavailable
from support.certificates import certificate


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("mariadb://server@db-1.internal:3307/frota", ("server", "db-1.internal", 3307, "frota")),
        ("mariadb://server@[::1]/frota", ("server", "::1", 3306, "frota")),
        ("/var/lib/frota/peers.db", None),
        ("", None),
    ],
)
def test_database_is_read(text: str, server: object) -> None:
    """A MariaDB with its user, host, port and name, or a file."""
    assert DatabaseConfig(parse_database(text), database_ca_file=Path("ca.pem")).server == server


@pytest.mark.parametrize(
    "text",
    ["mysql://a@b/c", "mariadb://b/c", "mariadb://a@b", "mariadb://a:pw@b/c", "mariadb://a@b:x/c", "sqlite:///x"],
)
def test_malformed_database_is_rejected(text: str) -> None:
    """The error names the expected form, and for a password where it belongs, without showing it elsewhere."""
    with pytest.raises(SettingsError, match="must be mariadb://USER@HOST:PORT/NAME") as caught:
        read(DatabaseConfig, "PEERS_", {"PEERS_DATABASE": text})
    assert ("password belongs in a file" in str(caught.value)) == (":pw@" in text)


def test_clear_text_only_on_loopback() -> None:
    """A database elsewhere requires a CA."""
    assert DatabaseConfig("mariadb://a@127.0.0.1/b").tls() is None
    with pytest.raises(SettingsError, match="PEERS_DATABASE_CA_FILE is missing"):
        read(DatabaseConfig, "PEERS_", {"PEERS_DATABASE": "mariadb://a@db/b"})


def test_secrets_that_others_can_read_are_rejected(tmp_path: Path) -> None:
    """The password file and the key must be secret."""
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o644)
    config = DatabaseConfig("mariadb://a@127.0.0.1/b", password)
    for use in (config.check_secrets, config.password):
        with pytest.raises(SettingsError, match="can read this secret"):
            use()


def test_unusable_ca_file_is_named(tmp_path: Path) -> None:
    """A missing or malformed CA is a settings error at the start, not a failed connection later."""
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        config = DatabaseConfig("mariadb://a@db/b", database_ca_file=tmp_path / name)
        with pytest.raises(SettingsError, match=name):
            open_database(config, tmp_path)


def test_server_without_tls_is_refused(tmp_path: Path) -> None:
    """A server, or somebody between, that offers no TLS gets neither user nor password."""
    authority = certificate(tmp_path, "ca")
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        greeter = threading.Thread(target=_greet_without_tls, args=(server, received))
        greeter.start()
        address = f"mariadb://a@127.0.0.1:{server.getsockname()[1]}/b"
        database = open_database(DatabaseConfig(address, database_ca_file=authority.file), tmp_path)
        with pytest.raises(DatabaseRejects, match="SSL is required"):
            AccountStore(database).query_balances(["1" * 11])
        greeter.join()
    assert received == [b""]


def _greet_without_tls(server: socket.socket, received: list[bytes]) -> None:
    """Greet as MariaDB 11.8 with protocol 4.1, but without the capability SSL."""
    connection, _ = server.accept()
    capabilities = 0x0F7FF & ~0x0800 | 0x000A0000  # CLIENT_SSL is 0x0800
    body = b"\x0a11.8.9-MariaDB\0" + struct.pack("<I", 1) + b"saltsalt\0" + struct.pack("<H", capabilities & 0xFFFF)
    body += b"\x21" + struct.pack("<HH", 2, capabilities >> 16) + bytes([21]) + bytes(10) + b"saltsaltsalt\0"
    connection.sendall(struct.pack("<I", len(body))[:3] + b"\0" + body + b"mysql_native_password\0")
    connection.settimeout(10)
    received.append(connection.recv(1000))
    connection.close()


def test_file_is_durable_and_private_to_one_writer(tmp_path: Path) -> None:
    """WAL mode, a sync at each commit, and a writer that waits for another one until the deadline."""
    database = open_database(DatabaseConfig(), tmp_path, timeout_s=0.5)
    migration.upgrade(database)
    names = ("journal_mode", "synchronous", "foreign_keys")
    pragmas = database.read(lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names])
    assert pragmas == ["wal", 2, 1]
    store = AccountStore(database)
    other = sqlite3.connect(tmp_path / "peers.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.query_balances(["1" * 11]) == {}
    with pytest.raises(DatabaseUnavailable, match="locked"):
        store.create([Account("x", "1" * 11, Decimal(0))])
    other.execute("ROLLBACK")
    assert store.create([Account("x", "1" * 11, Decimal(0))]) == 1
    other.close()


def test_damaged_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    """What SQLite cannot read is an OSError that says what to do."""
    (tmp_path / "peers.db").write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match=r"peers\.db: .*repair the file, or remove it"):
        migration.upgrade(open_database(DatabaseConfig(), tmp_path))
