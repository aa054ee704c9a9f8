"""The settings of the server and the worker of the peers; every key is PEERS_ + the field's name in capitals."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from frota.core.settings import setting
from frota.logs.log import LEVELS
from frota.net.addresses import parse_host
from frota.net.tls import AUTO, MTLS
from frota.peers.database.config import DatabaseConfig, parse_database
from frota.peers.lending.itinerary import ItineraryPolicy
from frota.peers.policy_settings import LivenessLimits, LoanLimits, SaturationLimits, TaskLimits
from frota.peers.protocol.codec.dialects import Dialect
from frota.peers.protocol.messages import MAX_BATCH, MAX_NAME_CHARACTERS, PORT, Address
from frota.peers.security import SecurityConfig
from frota.storage.state_folder import default_directory

PREFIX = "PEERS_"
SYSTEM = "peers"
SERVER_UNIT, WORKER_UNIT = "frota-peer-server", "frota-peer-worker"
_NAME = re.compile(rf"[\w.:-]{{0,{MAX_NAME_CHARACTERS}}}", re.ASCII)
_DIALECTS = {dialect.value: dialect for dialect in (Dialect.A, Dialect.B, Dialect.C)}
_S = "seconds"


class Peer(NamedTuple):
    """A configured peer: where it listens, and the dialect to begin with. Legacy ones speak clear text."""

    address: Address
    dialect: Dialect = Dialect.NATIVE

    @property
    def legacy(self) -> bool:
        """Whether it is configured as a legacy program."""
        return self.dialect is not Dialect.NATIVE

    def __str__(self) -> str:
        return join_address(self.address) + (f"/{self.dialect}" if self.legacy else "")


def parse_address(text: str) -> Address:
    """Parse HOST or HOST:PORT. Raises ValueError that says what is valid."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text.strip(), str(PORT)
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r}: the port must be from 1 to 65535")
    return Address(parse_host(host), int(port))


def join_address(address: Address) -> str:
    """Return HOST:PORT, an IPv6 address in brackets."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def parse_optional_address(text: str) -> Address | None:
    """Parse HOST:PORT, "" for none. Raises ValueError."""
    return parse_address(text) if text.strip() else None


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Parse HOST:PORT,…. Raises ValueError."""
    return tuple(parse_address(part) for part in text.split(",") if part.strip())


def parse_peers(text: str) -> tuple[Peer, ...]:
    """Parse HOST:PORT,HOST:PORT/C,…: a letter is the dialect of a legacy peer, in clear text. Raises ValueError."""
    peers = []
    for part in filter(None, map(str.strip, text.split(","))):
        address, slash, dialect = part.partition("/")
        if slash and dialect not in _DIALECTS:
            raise ValueError(f"{part!r}: a dialect must be one of {', '.join(_DIALECTS)}")
        peers.append(Peer(parse_address(address), _DIALECTS.get(dialect, Dialect.NATIVE)))
    return tuple(dict.fromkeys(peers))


def parse_name(text: str) -> str:
    """Check the name of a server or worker. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"must be letters, digits, '.', ':', '_' or '-', at most {MAX_NAME_CHARACTERS}")
    return text


@dataclass(frozen=True)
class ServerSettings(SecurityConfig, DatabaseConfig, TaskLimits, SaturationLimits, LoanLimits, LivenessLimits):
    """The settings of `frota peers serve`."""

    host: str = setting("127.0.0.1", "address to listen on, :: for all of IPv6 and IPv4", parse=parse_host)
    port: int = setting(PORT, "port to listen on, 0 for any free one", low=0, high=65535)
    clear_port: int = setting(0, "further port in clear text, for legacy programs, 0 for none", low=0, high=65535)
    backlog: int = setting(1024, "connections the kernel holds until they are accepted", low=1, high=65535)
    state_dir: Path | None = setting(None, "folder of the server's name and embedded database", parse=Path)
    name: str = setting("", "the server's name among its peers; empty: a UUID of the state folder", parse=parse_name)
    advertise: Address | None = setting(
        None,
        "HOST:PORT where peers and workers reach this server; empty: where it listens",
        parse=parse_optional_address,
    )
    peers: tuple[Peer, ...] = setting(
        (), "peers to lend to and borrow from, HOST:PORT,…; /A, /B or /C for a legacy one", parse=parse_peers
    )
    durable: bool = setting(True, "no: keep tasks in memory only, lost with the process; for trials and benchmarks")
    takeover_after_s: float = setting(
        60.0, "peers take over the tasks of a server that is gone for so long", unit=_S, low=1, high=1e6, live=True
    )
    stored_results_s: float = setting(
        604_800.0, "how long the database keeps results", unit=_S, low=60, high=1e9, live=True
    )
    max_connections: int = setting(2000, "connections at the same time", low=1, high=100_000, live=True)
    max_errors: int = setting(10, "malformed messages after which a connection is closed", low=0, high=10**6, live=True)
    max_requests: int = setting(64, "unanswered requests of one client", low=1, high=10**5, live=True)
    messages_per_second: int = setting(
        20_000, "rate limit of each connection, above which reading pauses; reports of tasks do not count", low=1,
        high=10**7, live=True,
    )  # fmt: skip
    max_buffered_bytes: int = setting(
        2**26, "incomplete messages of all connections together; the longest is dropped", unit="bytes", low=4096,
        high=2**40, live=True,
    )  # fmt: skip
    max_message_bytes: int = setting(2**20, "size of a message", unit="bytes", low=4096, high=2**26)
    first_message_timeout_s: float = setting(
        10.0, "a connection without a valid message is closed after", unit=_S, low=0.05, high=3600, live=True
    )
    idle_timeout_s: float = setting(
        900.0, "a connection of a client, peer or native worker is closed after so long without input", unit=_S,
        low=0.05, high=10**7, live=True,
    )  # fmt: skip
    unread_timeout_s: float = setting(
        30.0, "a caller that reads no answers for so long is disconnected", unit=_S, low=0.05, high=3600, live=True
    )
    poll_timeout_s: float = setting(
        60.0, "a worker of dialect C that has not asked for so long has left", unit=_S, low=0.1, high=86400, live=True
    )
    max_wait_s: float = setting(60.0, "how long a request for results may wait", unit=_S, low=0, high=86400, live=True)
    tick_s: float = setting(0.25, "time between two decisions about loans", unit=_S, low=0.01, high=10)
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS, live=True)
    log_tasks_per_second: int = setting(
        20, "tasks logged one by one, 0 for none; the others are counted", low=0, high=10**6, live=True
    )
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(9409, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    def __post_init__(self) -> None:
        self.check_files()
        self.check_database()
        if self.port and self.port == self.clear_port:
            raise ValueError(f"{PREFIX}PORT and {PREFIX}CLEAR_PORT must differ")
        secure = self.security == MTLS or (self.security == AUTO and self.cert_file)
        if secure and not self.clear_port and (legacy := next((peer for peer in self.peers if peer.legacy), None)):
            raise ValueError(f"{PREFIX}CLEAR_PORT is missing: {legacy} is a legacy peer, which speaks no TLS")

    @property
    def directory(self) -> Path:
        """The state folder."""
        return self.state_dir or default_directory(SERVER_UNIT)


@dataclass(frozen=True)
class WorkerSettings(SecurityConfig, DatabaseConfig):
    """The settings of `frota peers work`."""

    database: str = setting(
        "", "mariadb://USER@HOST:PORT/NAME, or a file's path; empty: the server reads and changes balances itself",
        parse=parse_database,
    )  # fmt: skip

    host: str = setting("127.0.0.1", "the host of the worker's own server", parse=parse_host)
    port: int = setting(PORT, "the port of the worker's own server", low=1, high=65535)
    failover: tuple[Address, ...] = setting(
        (), "servers to go to while the own one is unreachable, HOST:PORT,…", parse=parse_addresses
    )
    state_dir: Path | None = setting(None, "folder of the worker's id", parse=Path)
    name: str = setting("", "the worker's id; empty: a UUID of the state folder", parse=parse_name)
    transport: str = setting("websocket", "websocket or tcp", choices=("websocket", "tcp"))
    capacity: int = setting(64, "tasks at a time", low=1, high=MAX_BATCH)
    alive_every_s: float = setting(
        10.0, "time between two signs of life, below the lease", unit=_S, low=0.05, high=3600
    )
    connect_timeout_s: float = setting(5.0, "how long a connection may take", unit=_S, low=0.05, high=3600)
    max_backoff_s: float = setting(10.0, "longest pause between attempts to connect", unit=_S, low=0.01, high=3600)
    home_attempts: int = setting(2, "failed attempts at home before the failover list", low=1, high=100)
    silence_s: float = setting(25.0, "a server that is silent for so long is gone", unit=_S, low=0.2, high=86400)
    visit_s: float = setting(30.0, "stay at a failover server before home is tried again", unit=_S, low=0.2, high=86400)
    drain_s: float = setting(5.0, "how long tasks may be finished after a loan", unit=_S, low=0, high=3600)
    legacy_term_s: float = setting(60.0, "term of a loan that names none", unit=_S, low=0.2, high=86400)
    max_failover: int = setting(16, "servers of a failover list", low=0, high=1000)
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(0, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    def __post_init__(self) -> None:
        self.check_files()
        self.check_database()

    @property
    def home(self) -> Address:
        """The worker's own server."""
        return Address(self.host, self.port)

    @property
    def itinerary_policy(self) -> ItineraryPolicy:
        """The limits and times of the worker's travels."""
        return ItineraryPolicy(
            self.home_attempts, self.silence_s, self.visit_s, self.drain_s, self.legacy_term_s, self.max_failover
        )


@dataclass(frozen=True)
class MigrationOptions(DatabaseConfig):
    """The options of `frota peers migrate`."""

    state_dir: Path | None = setting(None, "folder of the embedded database", parse=Path)
