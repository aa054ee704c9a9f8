"""Settings of the list's server; every key is LIST_ + the field's name in capitals."""

import re
from dataclasses import dataclass
from pathlib import Path

from frota.core import secret_file
from frota.core.settings import setting
from frota.list import keys
from frota.logs.log import LEVELS
from frota.net import addresses
from frota.storage.state_folder import default_directory

PREFIX = "LIST_"
SYSTEM = "list"
SERVER_UNIT = "frota-list-server"
SECURITY = ("auto", "curve", "clear")
_CLIENT = re.compile(r"([\w.-]{1,64})=([0-9a-f]{64})")


def parse_clients(text: str) -> tuple[tuple[str, str], ...]:
    """Parse `NAME=KEY,…`, each KEY 64 hexadecimal digits. Raises ValueError that says the right form."""
    clients = []
    for part in filter(None, map(str.strip, text.split(","))):
        match = _CLIENT.fullmatch(part)
        if match is None:
            raise ValueError(f"{part[:80]!r} must be NAME=KEY, the KEY as `frota list keygen` prints it")
        clients.append((match[1], match[2]))
    return tuple(clients)


@dataclass(frozen=True)
class ServerSettings:
    """The settings of `frota list serve`."""

    host: str = setting("127.0.0.1", "address to listen on; :: for all, IPv4 included", parse=addresses.parse_host)
    port: int = setting(1234, "port for requests, 0 for any free one", low=0, high=65535)
    watch_port: int = setting(0, "port on which changes are published, 0 for any free one", low=0, high=65535)
    clear_port: int = setting(0, "additional port for legacy clients, in clear text, 0 for none", low=0, high=65535)
    backlog: int = setting(1024, "connections that the kernel queues before they are accepted", low=1, high=65535)
    max_connections: int = setting(10_000, "connections of clients and subscribers together", low=1, high=100_000)
    state_dir: Path | None = setting(None, "folder of the write-ahead log and the snapshots", parse=Path)
    security: str = setting(
        "auto", "curve, clear, or auto: curve with a key, else clear text on loopback only", choices=SECURITY
    )
    key_file: Path | None = setting(None, "file with the server's secret key, from `frota list keygen`", parse=Path)
    public_key: str = setting("", "the public key that must match it", parse=keys.parse_key)
    clients: tuple[tuple[str, str], ...] = setting(
        (), "allow-list of clients for curve, NAME=PUBLICKEY,…", live=True, parse=parse_clients
    )
    durable: bool = setting(True, "whether changes are on disk before the response; no keeps them in memory only")
    max_lists: int = setting(1000, "number of lists", low=1, high=10**6)
    max_elements: int = setting(2_000_000, "elements in all lists together", low=1, high=10**9)
    max_bytes: int = setting(64 * 2**20, "size of all elements together", unit="bytes", low=1, high=2**40)
    max_element_bytes: int = setting(65536, "size of one element", unit="bytes", low=1, high=4 * 2**20)
    cached_clients: int = setting(
        10_000,
        "clients in the response cache, which makes a repeated request change nothing",
        low=1,
        high=10**7,
        former="remembered_clients",
    )
    snapshot_bytes: int = setting(
        16 * 2**20,
        "growth of the write-ahead log after which a snapshot is written",
        unit="bytes",
        low=4096,
        high=2**30,
    )
    log_requests_per_second: int = setting(
        50, "rate limit of logged requests, 0 for none; suppressed ones are counted", low=0, high=10**6, live=True
    )
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS, live=True)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=addresses.parse_host)
    metrics_port: int = setting(9402, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    def __post_init__(self) -> None:
        ports = [port for port in (self.port, self.watch_port, self.clear_port) if port]
        if len(set(ports)) < len(ports):
            raise ValueError(f"{PREFIX}PORT, {PREFIX}WATCH_PORT and {PREFIX}CLEAR_PORT must differ")
        if len({name for name, _ in self.clients}) < len(self.clients):
            raise ValueError(f"{PREFIX}CLIENTS: every name must be there once")

    @property
    def directory(self) -> Path:
        """The state folder."""
        return self.state_dir or default_directory(SERVER_UNIT)

    @property
    def secret_key_file(self) -> Path | None:
        """The file of the secret key: the configured one, else systemd's credential `key`, else None."""
        return self.key_file or secret_file.credential("key")
