"""What the tests of the images' commands need: a command run to its end, and certificates made for the moment."""

import ipaddress
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support import ran
from support.fake_producer import Fake

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGES_", "FROTA_", "TRACEPARENT"))}


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed."""
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it printed with --json."""
        return [json.loads(line) for line in self.lines]


def images(*words: object, **environ: str) -> Ran:
    """Run a `frota images` command to its end."""
    done = ran("images", *words, env={**CLEAN, **environ}, stdin=subprocess.DEVNULL)
    return Ran(done.returncode, done.stdout, done.stderr)


def send(server: Fake, *words: object, **environ: str) -> Ran:
    """Send images to a fake."""
    return images("send", *words, f"127.0.0.1:{server.port}", **environ)


def pictures(folder: Path, *names: str, size: int = 1000) -> list[Path]:
    """Make files; a fake does not look into them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(size))
    return [folder / name for name in names]


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in memory and as files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path
    key_file: Path


def certificate(folder: Path, name: str, issuer: Certificate | None = None, address: str = "127.0.0.1") -> Certificate:
    """Make a certificate: an authority's, or one that an authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
    made = Certificate(
        builder.sign(issuer.key if issuer else key, hashes.SHA256()),
        key,
        folder / f"{name}.crt",
        folder / f"{name}.key",
    )
    made.file.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    made.key_file.touch(mode=0o600)
    made.key_file.write_bytes(key.private_bytes(*pem))
    return made


def credentials(server: Certificate, clients: Certificate | None = None) -> grpc.ServerCredentials:
    """Return what a server needs to speak TLS, with clients that an authority knows, if one is named."""
    pair = server.key_file.read_bytes(), server.file.read_bytes()
    return grpc.ssl_server_credentials([pair], clients.file.read_bytes() if clients else None, clients is not None)
