"""A real MariaDB, made by tools/database, with TLS."""

import ipaddress
import signal
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import Database, open_database
from frota.peers.database.errors import DatabaseUnavailable
from support.pipeline import ROOT, Process, free_port

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
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
        self.ca_file, self.password_file = state / "ca.pem", state / "password"
        write_certificates(self.ca_file, self.state / "server.pem", self.state / "server.key")
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
        tls = ["--ssl-cert=/var/lib/mysql/server.pem", "--ssl-key=/var/lib/mysql/server.key"]
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


def write_certificates(ca_file: Path, certificate: Path, key_file: Path) -> None:
    """Write a new CA, and a certificate for 127.0.0.1 that it has signed, with its private key."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
    server = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "database")])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    is_ca = x509.BasicConstraints(ca=True, path_length=None)
    signs = x509.KeyUsage(**dict.fromkeys(_USAGES, False) | {"key_cert_sign": True})
    ca_file.write_bytes(_signed(ca, ca_key.public_key(), ca, ca_key, is_ca, signs))
    certificate.write_bytes(_signed(server, key.public_key(), ca, ca_key, loopback))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.touch(0o600)
    key_file.write_bytes(key.private_bytes(*pem))


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=not isinstance(extension, x509.SubjectAlternativeName))
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
