"""What the server logs about its connections, its readings and its sensors, within rate limits."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter
from frota.net.addresses import endpoint
from frota.sensors.history import Illegible
from frota.sensors.messages import DISK_FULL, Parts, Reading
from frota.storage.wal.log import DiskFull
from frota.storage.wal.reader import Damage


class Addressed(Protocol):
    """Whoever has an address."""

    address: tuple[str, int]


class EventLog(RateLimitedLog):
    """Writes the log's records; `directory` is where readings are kept."""

    def __init__(self, directory: Path, readings_per_second: int) -> None:
        self._directory = directory
        self._damaged: set[tuple[type, Path]] = set()  # the segments that were logged, and why
        self._readings = RateLimiter("readings_suppressed", "readings", readings_per_second)
        self._connections = RateLimiter("connections_suppressed", "connections opened or closed")
        self._errors = RateLimiter("errors_suppressed", "errors of connections")
        self._ranges = RateLimiter("out_of_range_suppressed", "readings out of range", 1)
        self._sensors = RateLimiter("sensors_suppressed", "sensors fallen silent or back")
        self._disk = RateLimiter("disk_full_suppressed", "answers that a reading is not stored", 1)
        super().__init__(self._readings, self._connections, self._errors, self._ranges, self._sensors, self._disk)

    def connected(self, peer: Addressed, count: int) -> None:
        """Log a new connection, one of so many."""
        if self._connections.allow():
            record("INFO", "connected", f"Nova conexão de {peer.address}", PEER=endpoint(*peer.address))
            record("INFO", "connection_count", f"Conexões ativas: {count}")

    def disconnected(self, peer: Addressed) -> None:
        """Log the end of a connection."""
        if self._connections.allow():
            record("INFO", "disconnected", f"Conexão encerrada com {peer.address}", PEER=endpoint(*peer.address))

    def readings(self, peers: Sequence[Addressed], found: list[Parts], outside: list[int]) -> None:
        """Log readings within the rate limit, and warn of those out of range."""
        for index in outside:
            if self._ranges.allow():
                _reading("WARNING", "reading_out_of_range", "Fora da faixa", peers[index], found[index])
        limiter = self._readings
        if limiter.exhausted:
            limiter.suppress(len(found))
            return
        for peer, parts in zip(peers, found, strict=True):
            if limiter.allow():
                _reading("INFO", "reading", "Recebido", peer, parts)

    def error(self, peer: Addressed, reason: str, text: str = "") -> None:
        """Log what went wrong with one connection."""
        if self._errors.allow():
            shown = f" ({printable(text[:80])})" if text else ""
            message = f"Erro com {peer.address}: {reason}{shown}"
            record("WARNING", "connection_failed", message, PEER=endpoint(*peer.address))

    def skipped(self, address: tuple[str, int], count: int) -> None:
        """Log that a client had to drop readings."""
        message = f"{count} readings were dropped by the sensor's full spool"
        record("WARNING", "readings_dropped", message, PEER=endpoint(*address), COUNT=count)

    def not_stored(self, peer: Addressed, count: int, error: DiskFull) -> None:
        """Log that readings were refused for want of room."""
        if self._disk.allow():
            message = f"Erro com {peer.address}: {DISK_FULL} ({self._directory}: {error})"
            record("ERROR", "disk_full", message, PEER=endpoint(*peer.address), COUNT=count)

    def sensors(self, stale: Iterable[str], back: Iterable[str], seconds: float) -> None:
        """Log which sensors have been silent for longer than so many seconds, and which are back."""
        for sensor in stale:
            if self._sensors.allow():
                text = f"{sensor}: no reading for more than {seconds:g} s"
                record("WARNING", "sensor_stale", text, SENSOR=sensor)
        for sensor in back:
            if self._sensors.allow():
                record("INFO", "sensor_recovered", f"{sensor}: readings again", SENSOR=sensor)

    def damage(self, damage: Damage | Illegible) -> None:
        """Log, once for each segment, what of it cannot be read; called by the readers' threads."""
        if (type(damage), damage.path) in self._damaged:
            return
        self._damaged.add((type(damage), damage.path))
        if isinstance(damage, Damage):
            record("ERROR", "log_corrupted", str(damage), BYTES=damage.length)
        else:
            record("ERROR", "readings_corrupted", str(damage), COUNT=damage.readings)


def _reading(level: str, event: str, verb: str, peer: Addressed, parts: Parts) -> None:
    reading = Reading(*parts)
    text = f"{verb} de {peer.address}: {reading}"
    record(level, event, text, PEER=endpoint(*peer.address), SENSOR=reading.sensor, KIND=reading.kind)
