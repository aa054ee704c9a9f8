"""The settings of the sensors' server and client; every key is SENSORS_ + the field's name in capitals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frota.core.errors import MalformedMessage
from frota.core.settings import setting
from frota.logs.log import LEVELS
from frota.net.addresses import parse_host
from frota.sensors import messages, parser
from frota.sensors.staleness import Range
from frota.storage.state_folder import default_directory

PREFIX = "SENSORS_"
SYSTEM = "sensors"
PORT = 5000
SERVER_UNIT, CLIENT_UNIT = "frota-sensor-server", "frota-sensor-client"

# What the two legacy clients measure; any other kind is described by settings alone.
KINDS: dict[str, dict[str, Any]] = {
    "temperature": {
        "sensor": "Sensor1",
        "label": "Temperatura",
        "unit": "°C",
        "low": 20.0,
        "high": 30.0,
        "interval": 2.0,
        "metrics_port": 9407,
    },
    "humidity": {
        "sensor": "Sensor2",
        "label": "Umidade",
        "unit": "%",
        "low": 40.0,
        "high": 70.0,
        "interval": 3.0,
        "metrics_port": 9408,
    },
}


def parse_ranges(text: str) -> tuple[Range, ...]:
    """Parse `KIND:LOW:HIGH:UNIT,…`. Raises ValueError saying what would be right."""
    ranges = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            kind, low, high, unit = map(str.strip, part.split(":"))
            ranges.append(Range(kind, float(low), float(high), unit))
        except ValueError:
            raise ValueError(f"{part!r} must be KIND:LOW:HIGH:UNIT, for example Temperatura:-40:85:°C") from None
        if not ranges[-1].low <= ranges[-1].high:
            raise ValueError(f"{part!r}: LOW must not be above HIGH")
    _reject_contradictions(ranges)
    return tuple(ranges)


def _reject_contradictions(ranges: list[Range]) -> None:
    by_key = {one.key: one for one in ranges}
    for one in ranges:
        if by_key[one.key][1:3] != one[1:3]:
            raise ValueError(f"'{one}' and '{by_key[one.key]}' are ranges of the same kind and unit: leave one out")


def parse_units(text: str) -> tuple[str, ...]:
    """Parse `UNIT,…`. Raises ValueError saying what would be right."""
    units = tuple(unit.strip() for unit in text.split(",") if unit.strip())
    messages.open_pattern({*messages.KNOWN_UNITS, *units})
    return units


_RANGES = "plausible values per kind and unit, KIND:LOW:HIGH:UNIT,…; others are stored and flagged"
_UNITS = "units, beside °C and %, that end a reading sent without a newline, separated by commas"


@dataclass(frozen=True)
class ServerSettings:
    """The settings of `frota sensors serve`."""

    host: str = setting("127.0.0.1", "address to listen on, :: for all of IPv6 and IPv4", parse=parse_host)
    port: int = setting(PORT, "port to listen on, 0 for any free one", low=0, high=65535)
    backlog: int = setting(1024, "connections the kernel holds until they are accepted", low=1, high=65535)
    state_dir: Path | None = setting(None, "folder of the stored readings", parse=Path)
    max_connections: int = setting(1000, "connections at the same time", low=1, high=100_000, live=True)
    max_viewers: int = setting(16, "streams of `tail` and `history` at the same time", low=0, high=1000, live=True)
    max_errors: int = setting(10, "invalid lines after which a connection is closed", low=0, high=10**6, live=True)
    incomplete_timeout: float = setting(
        5.0, "how long the rest of an incomplete reading may take", unit="seconds", low=0.05, high=3600, live=True
    )
    idle_timeout: float = setting(
        900.0, "a connection is closed after so long without input", unit="seconds", low=0.05, high=10**7, live=True
    )
    unread_timeout: float = setting(
        30.0,
        "a peer that reads no answers for so long is disconnected",
        unit="seconds",
        low=0.05,
        high=3600,
        live=True,
    )
    max_backlog_bytes: int = setting(
        8 * 2**20,
        "readings that wait for the disk, above which input is paused",
        unit="bytes",
        low=65536,
        high=2**30,
    )
    ranges: tuple[Range, ...] = setting(
        parse_ranges("Temperatura:-40:85:°C,Umidade:0:100:%"), _RANGES, live=True, parse=parse_ranges
    )
    units: tuple[str, ...] = setting((), _UNITS, parse=parse_units)
    stale_after: float = setting(
        60.0,
        "a sensor is stale without a reading for so long, 0: never",
        unit="seconds",
        low=0,
        high=10**8,
        live=True,
    )
    retention_days: float = setting(
        30.0,
        "how long readings are stored, in running time of the server, 0 for ever",
        unit="days",
        low=0,
        high=36500,
        former="keep_days",
    )
    retention_bytes: int = setting(
        2**30, "size of all stored readings, 0 for no limit", unit="bytes", low=0, high=2**50, former="keep_bytes"
    )
    segment_bytes: int = setting(
        4 * 2**20, "size of a segment; whole segments are deleted", unit="bytes", low=4096, high=2**28
    )
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS, live=True)
    log_readings_per_second: int = setting(
        50, "readings logged one by one, 0 for none; the others are counted", low=0, high=10**6, live=True
    )
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(9401, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    def __post_init__(self) -> None:
        try:
            messages.open_pattern(self.known_units)
        except ValueError as error:
            raise ValueError(f"{PREFIX}RANGES, {PREFIX}UNITS: {error}") from None

    @property
    def known_units(self) -> set[str]:
        """The units that end a reading sent without a newline."""
        return {*messages.KNOWN_UNITS, *self.units, *(one.unit for one in self.ranges)}

    @property
    def directory(self) -> Path:
        """The folder of the stored readings."""
        return self.state_dir or default_directory(SERVER_UNIT)


@dataclass(frozen=True)
class ClientSettings:
    """The settings of `frota sensors simulate KIND`."""

    host: str = setting("127.0.0.1", "the server's host", parse=parse_host)
    port: int = setting(PORT, "the server's port", low=1, high=65535)
    protocol: str = setting(
        "auto",
        "native, original (the legacy one), or auto: detected at first",
        choices=("auto", "native", "original"),
    )
    state_dir: Path | None = setting(None, "folder of the spool", parse=Path)
    sensor: str = setting("", "name of the sensor")
    label: str = setting("", "what it measures, for example Temperatura")
    unit: str = setting("", "unit of its values, for example °C")
    low: float = setting(0.0, "lowest simulated value", low=-1e9, high=1e9)
    high: float = setting(100.0, "highest simulated value", low=-1e9, high=1e9)
    interval: float = setting(2.0, "time between two readings", unit="seconds", low=0.001, high=86400)
    count: int = setting(0, "number of readings to deliver before ending, 0 for no end", low=0, high=10**12)
    spool_limit: int = setting(100_000, "readings in the spool, above which the oldest are dropped", low=1, high=10**7)
    response_timeout: float = setting(
        10.0, "how long the server may take to answer", unit="seconds", low=0.05, high=3600, former="answer_timeout"
    )
    max_backoff: float = setting(
        30.0, "longest pause between attempts to connect", unit="seconds", low=0.01, high=3600, former="retry_most"
    )
    log_level: str = setting("INFO", "least severe level logged", choices=LEVELS)
    metrics_host: str = setting("127.0.0.1", "address of GET /metrics and /healthz", parse=parse_host)
    metrics_port: int = setting(0, "port of GET /metrics and /healthz, 0 for none", low=0, high=65535)

    def __post_init__(self) -> None:
        for name in ("sensor", "label", "unit"):
            if not getattr(self, name):
                raise ValueError(f"{PREFIX}{name.upper()} is not set: a kind that is not built in needs it")
        if not self.low <= self.high:
            raise ValueError(f"{PREFIX}LOW={self.low} must not be above {PREFIX}HIGH={self.high}")
        example = messages.Reading(self.sensor, self.label, "1.5", self.unit)
        if reason := _why_no_reading(example):
            names = f"{PREFIX}SENSOR, {PREFIX}LABEL or {PREFIX}UNIT"
            raise ValueError(f"{str(example)!r} would not be a valid reading{reason}: {names}")


def _why_no_reading(example: messages.Reading) -> str:
    try:
        return "" if parser.parse(str(example)) == example else " of these"
    except MalformedMessage as malformed:
        return f" ({malformed})"
