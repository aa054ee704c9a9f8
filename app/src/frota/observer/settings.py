"""The settings of the dashboard; every key is DASHBOARD_ + the field's name in capitals."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from frota.core import secret_file
from frota.core.settings import path, setting
from frota.logs.log import LEVELS
from frota.net.addresses import endpoint, parse_host
from frota.storage.state_folder import default_directory

PREFIX = "DASHBOARD_"
SYSTEM = "observer"
DASHBOARD_UNIT = "frota-dashboard"
_ENDPOINT = re.compile(r"(?P<host>\[[^\]]+\]|[^:\s]+):(?P<port>[0-9]{1,5})")
_URL = re.compile(r"https?://[\w.:\[\]-]+/?", re.ASCII)
_PART = "HOST:PORT of the {}; empty: the page shows it as not configured"


class Endpoint(NamedTuple):
    """Where a server of the fleet listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return endpoint(*self)


def parse_endpoint(text: str) -> Endpoint | None:
    """Parse HOST:PORT, "" for none. Raises ValueError that says what is valid."""
    if not text.strip():
        return None
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"{text!r} must be HOST:PORT, an IPv6 address in [brackets]")
    return Endpoint(parse_host(match["host"]), int(match["port"]))


def parse_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Parse HOST:PORT,HOST:PORT,…. Raises ValueError."""
    return tuple(server for part in text.split(",") if (server := parse_endpoint(part)))


def parse_url(text: str) -> str:
    """Check the address of Prometheus, "" for none. Raises ValueError that says what is valid."""
    if text and not _URL.fullmatch(text):
        raise ValueError("must be http://HOST:PORT, or empty")
    return text.rstrip("/")


@dataclass(frozen=True)
class DashboardSettings:
    """The settings of `frota dashboard serve`."""

    host: str = setting("127.0.0.1", "address to listen on, :: for all of IPv6 and IPv4", parse=parse_host)
    port: int = setting(8080, "port to listen on, 0 for any free one", low=0, high=65535)
    state_dir: Path | None = setting(None, "folder of uploads that are being sent", parse=Path)
    journal_dir: Path = setting(Path("/var/log/journal/remote"), "folder of the collected journals")
    prometheus: str = setting("http://127.0.0.1:9090", "address of Prometheus; empty: none", parse=parse_url)
    users_file: Path | None = setting(
        None,
        "file with a line NAME:ROLE:HASH for each user, see `frota dashboard password`; none: systemd's credential "
        "`users`; without either, on loopback only, everybody may look and nobody may change anything",
        parse=path,
    )
    sensors: Endpoint | None = setting(None, _PART.format("sensor server"), parse=parse_endpoint)
    list: Endpoint | None = setting(None, _PART.format("list server"), parse=parse_endpoint)
    images: Endpoint | None = setting(None, _PART.format("images' producer"), parse=parse_endpoint)
    peers: tuple[Endpoint, ...] = setting((), "HOST:PORT,… of the peers' servers; empty: none", parse=parse_endpoints)
    cpu: Endpoint | None = setting(None, _PART.format("CPU metrics server"), parse=parse_endpoint)
    viewers: int = setting(200, "pages that may be open; further ones are refused", low=1, high=10_000, live=True)
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS, live=True)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(9410, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    @property
    def directory(self) -> Path:
        """The state folder."""
        return self.state_dir or default_directory(DASHBOARD_UNIT)

    @property
    def users(self) -> Path | None:
        """The users file: the one that is set, else systemd's credential, else none."""
        return self.users_file or secret_file.credential("users")
