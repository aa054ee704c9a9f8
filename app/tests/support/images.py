"""Support of the tests of the images' commands: complete runs of a command, and new certificates."""

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

from support import run_frota
from support.fake_producer import FakeProducer

CLEAN_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("IMAGES_", "FROTA_", "TRACEPARENT"))
}


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of its output."""
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects of its output with --json."""
        return [json.loads(line) for line in self.lines]


def run_images(*words: object, **environ: str) -> CommandResult:
    """Run a `frota images` command to its end."""
    done = run_frota("images", *words, env={**CLEAN_ENVIRONMENT, **environ}, stdin=subprocess.DEVNULL)
    return CommandResult(done.returncode, done.stdout, done.stderr)


def send(server: FakeProducer, *words: object, **environ: str) -> CommandResult:
    """Send images to a fake producer."""
    return run_images("send", *words, f"127.0.0.1:{server.port}", **environ)


def image_files(folder: Path, *names: str, size: int = 1000) -> list[Path]:
    """Create files, whose content a fake producer does not read."""
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
    """Create a certificate: of an authority, or signed by the authority `issuer`."""
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
    result = Certificate(
        builder.sign(issuer.key if issuer else key, hashes.SHA256()),
        key,
        folder / f"{name}.crt",
        folder / f"{name}.key",
    )
    result.file.write_bytes(result.certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    result.key_file.touch(mode=0o600)
    result.key_file.write_bytes(key.private_bytes(*pem))
    return result


def credentials(server: Certificate, clients: Certificate | None = None) -> grpc.ServerCredentials:
    """Return the credentials of a server with TLS, which requires certificates signed by the authority `clients`."""
    pair = server.key_file.read_bytes(), server.file.read_bytes()
    return grpc.ssl_server_credentials([pair], clients.file.read_bytes() if clients else None, clients is not None)
