"""The settings of the metrics' server and agent; every key is CPU_ + the field's name in capitals."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from frota.core.settings import setting
from frota.cpu import messages
from frota.storage.state_folder import default_directory

PREFIX = "CPU_"
SYSTEM = "cpu"
SERVER_UNIT, AGENT_UNIT = "frota-cpu-server", "frota-cpu-agent"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")  # logs.log's, which an agent does without
METRICS = ("cpu", "memory", "disk")


class Threshold(NamedTuple):
    """A metric in percent: crossed at `high` or above, cleared at `low` or below."""

    metric: str
    high: float
    low: float


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """Parse `METRIC:HIGH:LOW,…`. Raises ValueError saying what would be right."""
    thresholds: list[Threshold] = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            metric, high, low = part.split(":")
            thresholds.append(Threshold(metric, float(high), float(low)))
        except ValueError:
            raise ValueError(f"{part!r} must be METRIC:HIGH:LOW in percent, for example cpu:90:75") from None
        if metric not in METRICS:
            raise ValueError(f"{part!r}: METRIC must be one of {', '.join(METRICS)}")
        if not 0 <= thresholds[-1].low < thresholds[-1].high <= 100:
            raise ValueError(f"{part!r}: must be 0 <= LOW < HIGH <= 100")
        if metric in [threshold.metric for threshold in thresholds[:-1]]:
            raise ValueError(f"{part!r}: {metric} has a threshold already, one is enough")
    return tuple(thresholds)


def parse_host(text: str) -> str:
    """Return a host for sockets, an IPv6 address without brackets. Raises ValueError saying what is right."""
    if text and ":" not in text and "[" not in text:
        return text
    from frota.net.addresses import (
        parse_host as parse,  # here: most agents do without the memory of ipaddress
    )

    host = parse(text)
    if "[" in host or "]" in host:
        raise ValueError("must be a host alone, by name or address, an IPv6 address in brackets or without")
    return host


@dataclass(frozen=True)
class ServerSettings:
    """The settings of `frota cpu serve`."""

    host: str = setting("127.0.0.1", "address to listen on", parse=parse_host)
    port: int = setting(messages.PORT, "TCP port to listen on, 0 for any", low=0, high=65535)
    state_dir: Path | None = setting(None, "folder that keeps the history", parse=Path)
    max_connections: int = setting(10_000, "connections at a time", low=1, high=100_000)
    max_hosts: int = setting(10_000, "hosts at a time; a further one is rejected", low=1, high=100_000, live=True)
    expiry_days: float = setting(
        7.0,
        "after which a host without a sample is deleted",
        unit="days",
        low=0.01,
        live=True,
        former="forget_days",
    )
    history_samples: int = setting(
        17_280, "samples stored of each host; the default is 24 h at 5 s", low=60, high=1_000_000, live=True
    )
    commit_seconds: float = setting(
        1.0, "between two writes to the disk, after which samples are acknowledged", unit="seconds", low=0.01, high=10.0
    )
    default_interval: float = setting(
        5.0, "interval of legacy agents, which do not send theirs", unit="seconds", low=0.1, high=3600.0, live=True
    )
    stale_intervals: float = setting(
        3.0, "intervals without a sample until a host is stale", low=1.5, high=100.0, live=True
    )
    dead_intervals: float = setting(
        12.0, "intervals without input until a connection is closed", low=2.0, high=1000.0, live=True
    )
    samples_per_second: int = setting(
        500, "rate limit of each connection, above which reading pauses", low=1, high=10_000, live=True
    )
    thresholds: tuple[Threshold, ...] = setting(
        parse_thresholds("cpu:90:75,memory:90:85,disk:90:85"),
        "percentages that are logged when crossed, METRIC:HIGH:LOW,…",
        parse=parse_thresholds,
        live=True,
    )
    threshold_samples: int = setting(3, "samples in a row that make a crossing", low=1, high=1000, live=True)
    log_samples_per_second: int = setting(
        0, "samples logged one by one, as the legacy server does", low=0, high=1000, live=True
    )
    log_level: str = setting("INFO", "least severe level that is logged", choices=LEVELS, live=True)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(9405, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    @property
    def directory(self) -> Path:
        """The folder that keeps the history."""
        return self.state_dir or default_directory(SERVER_UNIT)


@dataclass(frozen=True)
class AgentSettings:
    """The settings of `frota cpu agent`."""

    host: str = setting("127.0.0.1", "the server's host", parse=parse_host)
    port: int = setting(messages.PORT, "the server's TCP port", low=1, high=65535)
    state_dir: Path | None = setting(
        None, "folder of the samples that are not delivered when the agent stops", parse=Path
    )
    name: str = setting("", "this computer's name; without one, its host name")
    interval: float = setting(5.0, "between two samples", unit="seconds", low=0.1, high=3600.0, live=True)
    protocol: str = setting("native", "native, or original: the legacy text", choices=("native", "original"))
    spool_samples: int = setting(
        720,
        "samples in the spool, above which the oldest are dropped",
        low=1,
        high=100_000,
        live=True,
        former="keep_samples",
    )
    log_level: str = setting("INFO", "least severe level that is logged", choices=LEVELS, live=True)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(0, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    @property
    def directory(self) -> Path:
        """The folder of the spool."""
        return self.state_dir or default_directory(AGENT_UNIT)

    def __post_init__(self) -> None:
        """Check the name. Raises ValueError."""
        if not messages.is_host(self.called):
            allowed = (
                "must be a host name of 253 characters at most: letters from A to Z, digits, '.', '_', ':' and '-'"
            )
            own = "" if self.name else f" (the host name; {PREFIX}NAME or --name gives another)"
            raise ValueError(f"{PREFIX}NAME={self.called!r}{own}: {allowed}{_offending(self.called)}")

    @property
    def called(self) -> str:
        """The name that the server knows this computer by."""
        return self.name or socket.gethostname()


def _offending(name: str) -> str:
    """Return the first invalid character with its code, since some are invisible."""
    character = next((c for c in name if not (c.isascii() and (c.isalnum() or c in "._:-"))), "")
    return f"; {character!r} (U+{ord(character):04X}) is none of them" if character else ""
