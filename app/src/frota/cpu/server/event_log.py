"""The log records of the metrics' server, each kind rate limited, and the counters behind its metrics."""

import time
from typing import Any, Protocol

from frota.core import trace
from frota.cpu import messages
from frota.cpu.framing import SampleMessage
from frota.cpu.server.history import MAX_CHUNK_SAMPLES
from frota.cpu.server.host import Host
from frota.cpu.thresholds import Crossing
from frota.logs.log import printable, record
from frota.logs.rate_limit import DEFAULT_RATE, RateLimitedLog, RateLimiter

_TRIM_REPORT_S, _LIMIT_REPORT_S = 3600.0, 60.0


class Peer(Protocol):
    """The other end of a connection: its address, and the same as HOST:PORT."""

    @property
    def name(self) -> str:
        """The peer as HOST:PORT."""

    @property
    def address(self) -> tuple[str, int]:
        """The peer's host and port."""


class EventLog(RateLimitedLog):
    """Writes the records, and counts; it is the observer of the TCP server."""

    def __init__(self, samples_per_second: int) -> None:
        self.connected_total = self.rejected_total = self.aborted_total = 0
        self.malformed_total = self.rate_limited_total = self.name_conflicts_total = 0
        self._trimmed_chunks = self._max_samples = 0
        self._trim_due = self._limit_due = self._descriptors_due = 0.0
        self._samples = RateLimiter("samples_suppressed", "samples", samples_per_second)
        self._connections = RateLimiter("connections_suppressed", "connections")
        self._errors = RateLimiter("errors_suppressed", "errors of connections")
        self._hosts = RateLimiter("hosts_suppressed", "changes of hosts", 50 * DEFAULT_RATE)
        super().__init__(self._samples, self._connections, self._errors, self._hosts)

    def report(self) -> None:
        """Report what was suppressed, and the samples that were deleted."""
        super().report()
        self._report_trimmed()

    def connected(self, connection: Peer, count: int) -> None:  # noqa: ARG002 -- the log has agents, not viewers
        """Count an accepted connection."""
        self.connected_total += 1

    def disconnected(self, connection: Peer) -> None:
        """Log nothing: the end of an agent's connection is logged as a change of its host."""

    def rejected(self, connection: Peer, max_connections: int) -> None:  # noqa: ARG002 -- one record for all
        """Count a connection above the limit; log it once a minute."""
        self.rejected_total += 1
        if time.monotonic() >= self._limit_due:
            self._limit_due = time.monotonic() + _LIMIT_REPORT_S
            text = f"all {max_connections} connections are in use, new ones are rejected (CPU_MAX_CONNECTIONS)"
            record("WARNING", "connection_limit_reached", text, COUNT=max_connections)

    def aborted(self, connection: Peer, reason: str) -> None:
        """Count and log a connection that the server ends."""
        self.aborted_total += 1
        if self._errors.allow():
            text = f"{connection.name}: {reason}; connection closed"
            record("WARNING", "connection_aborted", text, PEER=connection.name)

    def replaced(self, connection: Peer) -> None:
        """Count and log an agent whose host another connection has now."""
        self.aborted(connection, messages.REPLACED)

    def agent_connected(self, connection: Peer, count: int) -> None:
        """Log an agent's connection in the legacy words; `count` agents are connected, this one included."""
        if self._connections.allow():
            record("INFO", "connected", messages.NEW.format(connection.address), PEER=connection.name)
            record("INFO", "connection_count", messages.STATUS.format(count), COUNT=count)

    def no_descriptors(self) -> None:
        """Log once a minute that no more files can be opened."""
        if time.monotonic() >= self._descriptors_due:
            self._descriptors_due = time.monotonic() + _LIMIT_REPORT_S
            text = "no file descriptor is left, new connections are closed; raise the limit of open files"
            record("WARNING", "descriptors_exhausted", f"{text} (LimitNOFILE=)")

    def sample(self, connection: Peer, reading: SampleMessage, run: str) -> None:
        """Log a sample in the legacy words; an agent's `run` and the sequence number give its trace id."""
        if self._samples.rate and self._samples.allow():
            text = messages.RECEIVED.format(connection.address, reading.sample.legacy())
            trace_id = trace.derive(run, reading.number) if reading.number else trace.new_id()
            record("INFO", "sample", text, PEER=connection.name, TRACE_ID=trace_id)

    def malformed(self, connection: Peer, reason: str, run: str = "", number: int = 0) -> None:
        """Count and log a malformed message; an agent's `run` and the number of its sample give the trace id."""
        self.malformed_total += 1
        if self._errors.allow():
            traced: dict[str, Any] = {"TRACE_ID": trace.derive(run, number)} if run and number else {}
            text = f"{connection.name}: {printable(reason)}"
            record("WARNING", "message_malformed", text, PEER=connection.name, **traced)

    def rate_limited(self, connection: Peer) -> None:
        """Count and log a connection that exceeds the rate limit."""
        self.rate_limited_total += 1
        if self._errors.allow():
            text = f"{connection.name}: exceeds the rate limit of samples; reading is paused for up to a second"
            record("WARNING", "rate_limited", f"{text} (CPU_SAMPLES_PER_SECOND)", PEER=connection.name)

    def name_taken(self, host: Host, holder: Peer, newcomer: Peer) -> None:
        """Count and log that another agent has a host's name already."""
        self.name_conflicts_total += 1
        if self._errors.allow():
            name = host.row.name
            text = f"two agents are called {name}: {holder.name} and {newcomer.name}; the second is rejected"
            text += " while the first is connected: give one of them another name (CPU_NAME, --name)"
            record("WARNING", "name_conflict", text, HOST=name, PEER=newcomer.name, HOLDER=holder.name)

    def changed(self, host: Host, event: str) -> None:
        """Log that a host is connected, stale or disconnected."""
        if self._hosts.allow():
            name = host.row.name
            record("WARNING" if event == "stale" else "INFO", f"host_{event}", f"{name}: {event}", HOST=name)

    def forgotten(self, host: Host, days: float) -> None:
        """Log that a host and its history are deleted after `days` without a sample."""
        name, samples = host.row.name, host.row.samples
        text = f"{name}: deleted with its history of {samples} samples, after {days:g} days of the server's running"
        record("INFO", "host_expired", f"{text} time without a sample (CPU_EXPIRY_DAYS)", HOST=name, COUNT=samples)

    def trimmed(self, chunks: int, max_samples: int) -> None:
        """Count deleted chunks of old samples; they are logged together, at once and then every hour."""
        self._trimmed_chunks += chunks
        self._max_samples = max_samples
        if time.monotonic() >= self._trim_due:
            self._report_trimmed()

    def crossed(self, host: Host, crossing: Crossing) -> None:
        """Log that a metric has crossed its high threshold, or is back at the low one."""
        (metric, high, low), name = crossing.threshold, host.row.name
        if crossing.over:
            level, event, text = "INFO", "threshold_cleared", f"is down to {crossing.value:.1f} % (low: {low:g} %)"
        else:
            level, event, text = "WARNING", "threshold_crossed", f"is at {crossing.value:.1f} % (high: {high:g} %)"
        record(level, event, f"{name}: {metric} {text}", HOST=name, METRIC=metric, VALUE=f"{crossing.value:.1f}")

    def _report_trimmed(self) -> None:
        if self._trimmed_chunks:
            text = f"deleted {self._trimmed_chunks} chunks of {MAX_CHUNK_SAMPLES} samples at most, the oldest of hosts"
            text = f"{text} with more than {self._max_samples} samples (CPU_HISTORY_SAMPLES)"
            record("INFO", "history_trimmed", text, COUNT=self._trimmed_chunks)
        self._trimmed_chunks, self._trim_due = 0, time.monotonic() + _TRIM_REPORT_S
