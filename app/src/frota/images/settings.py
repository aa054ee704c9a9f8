"""The settings of the image pipeline; every key is IMAGES_ + the field's name in capitals."""

import re
from dataclasses import dataclass
from pathlib import Path

from frota.core import secret_file
from frota.core.settings import path, setting
from frota.logs.log import LEVELS
from frota.net.addresses import parse_host
from frota.storage.state_folder import default_directory

PREFIX = "IMAGES_"
SYSTEM = "images"
PRODUCER_UNIT, WORKER_UNIT = "frota-image-producer", "frota-image-worker"
SECURITY = ("auto", "mtls", "tls", "clear")
MIB = 2**20
_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})", re.ASCII)


def parse_brokers(text: str) -> tuple[tuple[str, int], ...]:
    """Read `HOST:PORT,…`. Raises ValueError with the expected form."""
    brokers = []
    for part in filter(None, map(str.strip, text.split(","))):
        match = _ADDRESS.fullmatch(part)
        if match is None or not 0 < int(match[3]) < 65536:
            raise ValueError(f"{part[:80]!r} must be HOST:PORT")
        brokers.append((match[1] or match[2], int(match[3])))
    if not brokers:
        raise ValueError("must be HOST:PORT, or several with commas between them")
    return tuple(brokers)


_BROKERS = (("127.0.0.1", 5672),)
_PEM = "file (PEM) with "


@dataclass(frozen=True)
class BrokerConfig:
    """How to reach the broker: over TLS with a client certificate, or in clear text with a password."""

    brokers: tuple[tuple[str, int], ...] = setting(
        _BROKERS, "the broker's nodes, HOST:PORT,…; any will do", parse=parse_brokers
    )
    vhost: str = setting("/", "the broker's virtual host")
    user: str = setting("guest", "the broker's user, without a certificate")
    password_file: Path | None = setting(None, "file with the password of that user (guest)", parse=path)
    cert_file: Path | None = setting(None, _PEM + "the client certificate", parse=path)
    key_file: Path | None = setting(None, _PEM + "the private key of that certificate", parse=path)
    ca_file: Path | None = setting(None, _PEM + "trusted CA certificates", parse=path)

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.ca_file is None):
            raise ValueError(f"{PREFIX}CERT_FILE and {PREFIX}CA_FILE: both, or neither for clear text")
        if self.cert_file and not self.secret_key_file:
            raise ValueError(f"{PREFIX}KEY_FILE is missing: {PREFIX}CERT_FILE needs its private key")

    @property
    def secret_key_file(self) -> Path | None:
        """The private key: the file that is set, else systemd's credential `key`, else none."""
        return self.key_file or secret_file.credential("key")

    def check_secrets(self) -> None:
        """Raise SettingsError for a secret that other users can read or replace."""
        for secret in filter(None, (self.secret_key_file, self.password_file)):
            secret_file.check(secret)


@dataclass(frozen=True)
class StorageConfig:
    """How to reach S3; credentials are found as by the AWS CLI, or in systemd's credential `aws`."""

    s3_endpoint: str = setting("", "URL of an S3 that is not AWS's own")
    s3_region: str = setting("us-east-1", "AWS region of the buckets")
    uploads_bucket: str = setting("", "bucket for images too large for the queue; empty: they are rejected")


@dataclass(frozen=True)
class ProducerSettings(BrokerConfig, StorageConfig):
    """The settings of `frota images serve`."""

    host: str = setting("127.0.0.1", "address to listen on", parse=parse_host)
    port: int = setting(50051, "port to listen on, 0 for any free one", low=0, high=65535)
    clear_port: int = setting(0, "further port in clear text, for legacy clients, 0 for none", low=0, high=65535)
    security: str = setting(
        "auto",
        "mtls, tls, clear, or auto: mtls where there is a certificate, else clear, on loopback only",
        choices=SECURITY,
    )
    state_dir: Path | None = setting(None, "folder for the statuses of images", parse=path)
    declare: bool = setting(True, "whether to declare the queues; no if somebody else does")
    events_queue: str = setting("images.events", "queue of status events of this producer")
    max_bytes: int = setting(15 * MIB, "size of one image sent at once", unit="bytes", low=1, high=15 * MIB)
    max_upload_bytes: int = setting(200 * MIB, "size of one image uploaded", unit="bytes", low=1, high=2**32)
    max_pixels: int = setting(65_000_000, "pixels of one image", low=1, high=10**9, live=True)
    memory_limit_bytes: int = setting(
        256 * MIB,
        "memory limit for images of all clients together",
        unit="bytes",
        low=32 * MIB,
        high=2**40,
        former="max_held_bytes",
    )
    publish_timeout: float = setting(
        20.0,
        "timeout for the broker's confirm, for a client without a deadline",
        unit="seconds",
        low=0.1,
        high=3600,
        live=True,
        former="answer_seconds",
    )
    max_statuses: int = setting(
        100_000, "images whose status is stored; the oldest are deleted", low=1, high=10**8, former="remembered"
    )
    log_requests_per_second: int = setting(
        50, "images logged per second, 0 for none; others are counted", low=0, high=10**6, live=True
    )
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS, live=True)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(9403, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port and self.port == self.clear_port:
            raise ValueError(f"{PREFIX}PORT and {PREFIX}CLEAR_PORT must differ")
        if self.security in ("tls", "mtls") and not self.cert_file:
            raise ValueError(f"{PREFIX}SECURITY={self.security!r}: needs {PREFIX}CERT_FILE and {PREFIX}CA_FILE")

    @property
    def directory(self) -> Path:
        """The folder of the status store."""
        return self.state_dir or default_directory(PRODUCER_UNIT)


@dataclass(frozen=True)
class WorkerSettings(BrokerConfig, StorageConfig):
    """The settings of `frota images work`."""

    bucket: str = setting("", "bucket for the results")
    name: str = setting("", "name of this worker in statuses (the host's)")
    state_dir: Path | None = setting(None, "folder for large images while they are converted", parse=path)
    declare: bool = setting(True, "whether to declare the queues; no if somebody else does")
    converters: int = setting(0, "images converted at a time, 0 for one on each CPU", low=0, high=256)
    max_pixels: int = setting(65_000_000, "pixels of one image", low=1, high=10**9)
    conversion_timeout: float = setting(
        60.0, "timeout of one conversion", unit="seconds", low=0.1, high=3600, former="convert_seconds"
    )
    conversion_memory_bytes: int = setting(
        768 * MIB, "memory limit of one conversion", unit="bytes", low=64 * MIB, high=2**40, former="convert_bytes"
    )
    log_requests_per_second: int = setting(
        50, "images logged per second, 0 for none; others are counted", low=0, high=10**6, live=True
    )
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS, live=True)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(9404, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    @property
    def directory(self) -> Path:
        """The folder of large images and of the outbox."""
        return self.state_dir or default_directory(WORKER_UNIT)
