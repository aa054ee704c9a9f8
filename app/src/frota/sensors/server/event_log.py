"""The log records of the sensors' server: connections, readings, sensors and the disk, each kind rate limited."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from frota.core import trace
from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter
from frota.net.addresses import endpoint
from frota.sensors.history import Illegible
from frota.sensors.messages import DISK_FULL, SERVER_FULL, Parts, Reading
from frota.storage.wal.log import DiskFull
from frota.storage.wal.reader import Damage

_MAX_EXCERPT_CHARACTERS = 80


class Peer(Protocol):
    """Whatever has the address of a peer."""

    address: tuple[str, int]


class EventLog(RateLimitedLog):
    """Writes the records, and counts; the observer of the TCP server. `directory` is where readings are stored."""

    def __init__(self, directory: Path, readings_per_second: int) -> None:
        self._directory = directory
        self.connected_total = self.rejected_total = 0
        self.received_total = self.out_of_range_total = self.malformed_total = 0
        self.dropped_total = self.disk_full_total = 0  # readings: by clients, and by this server
        self._damaged: set[tuple[type, Path]] = set()  # kind of damage and segment, as logged already
        self._readings = RateLimiter("readings_suppressed", "readings", readings_per_second)
        self._connections = RateLimiter("connections_suppressed", "connections opened or closed")
        self._errors = RateLimiter("errors_suppressed", "errors of connections")
        self._ranges = RateLimiter("out_of_range_suppressed", "readings out of range", 1)
        self._sensors = RateLimiter("sensors_suppressed", "stale or recovered sensors")
        self._disk = RateLimiter("disk_full_suppressed", "readings rejected because the disk is full", 1)
        super().__init__(self._readings, self._connections, self._errors, self._ranges, self._sensors, self._disk)

    def connected(self, connection: Peer, count: int) -> None:
        """Count and log an accepted connection; `count` includes it."""
        self.connected_total += 1
        if self._connections.allow():
            address = connection.address
            record("INFO", "connected", f"Nova conexão de {address}", PEER=endpoint(*address))
            record("INFO", "connection_count", f"Conexões ativas: {count}")

    def disconnected(self, connection: Peer) -> None:
        """Log the end of a connection."""
        if self._connections.allow():
            address = connection.address
            record("INFO", "disconnected", f"Conexão encerrada com {address}", PEER=endpoint(*address))

    def rejected(self, connection: Peer, max_connections: int) -> None:  # noqa: ARG002 -- the text is the legacy one
        """Count and log a connection above the limit."""
        self.rejected_total += 1
        self.failed(connection, SERVER_FULL)

    def aborted(self, connection: Peer, reason: str) -> None:
        """Log that the server ends a connection."""
        self.failed(connection, reason)

    def failed(self, peer: Peer, reason: str) -> None:
        """Log an error of one connection."""
        if self._errors.allow():
            _failed(peer, reason)

    def malformed(self, peer: Peer, reason: str, text: str, producer: str = "", number: int = 0) -> None:
        """Count and log input that is rejected, `text`.

        `producer` and the sequence number of the line give its trace id; a line without a number gets a new one.
        """
        self.malformed_total += 1
        if self._errors.allow():
            excerpt = f" ({printable(text[:_MAX_EXCERPT_CHARACTERS])})" if text else ""
            _failed(peer, f"{reason}{excerpt}", TRACE_ID=_trace_id(producer, number))

    def readings(
        self, peers: Sequence[Peer], parts: list[Parts], out_of_range: list[int], producer: str = "", last: int = 0
    ) -> None:
        """Count and log readings, each with its peer and its trace id, and warn of those out of range (by index).

        `producer` and the sequence number of the `last` reading give the trace ids that the client logs, too; readings
        of legacy clients get new ones.
        """
        self.received_total += len(parts)
        self.out_of_range_total += len(out_of_range)
        traces: dict[int, str] = {}  # by index, only of what is logged
        for index in out_of_range:
            if self._ranges.allow():
                traces[index] = _trace_id(producer, last - len(parts) + 1 + index)
                _reading("WARNING", "reading_out_of_range", "Fora da faixa", peers[index], parts[index], traces[index])
        limiter = self._readings
        if limiter.exhausted:
            limiter.suppress(len(parts))
            return
        for index, (peer, reading) in enumerate(zip(peers, parts, strict=True)):
            if limiter.allow():
                trace_id = traces.get(index) or _trace_id(producer, last - len(parts) + 1 + index)
                _reading("INFO", "reading", "Recebido", peer, reading, trace_id)

    def dropped(self, peer: Peer, count: int) -> None:
        """Count and log readings that a client with a full spool has dropped."""
        self.dropped_total += count
        message = f"the full spool of a sensor's client has dropped {count} readings"
        record("WARNING", "readings_dropped", message, PEER=endpoint(*peer.address), COUNT=count)

    def disk_full(self, peer: Peer, count: int, error: DiskFull) -> None:
        """Count and log readings that are rejected because the disk is full."""
        self.disk_full_total += count
        if self._disk.allow():
            message = f"Erro com {peer.address}: {DISK_FULL} ({self._directory}: {error})"
            record("ERROR", "disk_full", message, PEER=endpoint(*peer.address), COUNT=count)

    def sensors(self, stale: Iterable[str], recovered: Iterable[str], stale_after: float) -> None:
        """Log the sensors without a reading for more than `stale_after` seconds, and those that have one again."""
        for sensor in stale:
            if self._sensors.allow():
                text = f"{sensor}: stale, no reading for more than {stale_after:g} s"
                record("WARNING", "sensor_stale", text, SENSOR=sensor)
        for sensor in recovered:
            if self._sensors.allow():
                record("INFO", "sensor_recovered", f"{sensor}: recovered, readings arrive again", SENSOR=sensor)

    def damage(self, damage: Damage | Illegible) -> None:
        """Log damage of a segment, once. Called by the threads that read segments."""
        if (type(damage), damage.path) in self._damaged:
            return
        self._damaged.add((type(damage), damage.path))
        if isinstance(damage, Damage):
            record("ERROR", "log_corrupted", str(damage), BYTES=damage.length)
        else:
            record("ERROR", "readings_corrupted", str(damage), COUNT=damage.readings)


def _failed(peer: Peer, reason: str, **fields: Any) -> None:
    message = f"Erro com {peer.address}: {reason}"
    record("WARNING", "connection_failed", message, PEER=endpoint(*peer.address), **fields)


def _trace_id(producer: str, number: int) -> str:
    return trace.derive(producer, number) if producer and number > 0 else trace.new_id()


def _reading(level: str, event: str, verb: str, peer: Peer, parts: Parts, trace_id: str) -> None:  # noqa: PLR0913, PLR0917 -- private
    reading, where = Reading(*parts), endpoint(*peer.address)
    text = f"{verb} de {peer.address}: {reading}"
    record(level, event, text, PEER=where, SENSOR=reading.sensor, KIND=reading.kind, TRACE_ID=trace_id)
