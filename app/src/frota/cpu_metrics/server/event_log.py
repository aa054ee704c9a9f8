"""What the server logs, within rate limits, and what it counts."""

import time
from typing import Protocol

from frota.cpu_metrics import messages
from frota.cpu_metrics.framing import Reading
from frota.cpu_metrics.server.history import CHUNK
from frota.cpu_metrics.server.host import Host
from frota.cpu_metrics.thresholds import Crossing
from frota.logs.log import printable, record
from frota.logs.rate_limit import DEFAULT_RATE, RateLimitedLog, RateLimiter

_TRIM_REPORT_SECONDS, _FULL_REPORT_SECONDS = 3600.0, 60.0


class Peer(Protocol):
    """Whom a record is about: the other end of a connection, and its address as HOST:PORT."""

    name: str
    address: tuple[str, int]


class EventLog(RateLimitedLog):
    """Writes the records, and counts what they are about."""

    def __init__(self, samples_per_second: int) -> None:
        self.connected_total = self.bad_total = self.hasty_total = self.cut_total = self.name_conflicts_total = 0
        self._trimmed = self._kept_samples = 0
        self._trim_due = self._full_due = self._descriptors_due = 0.0
        self._samples = RateLimiter("samples_suppressed", "samples", samples_per_second)
        self._connections = RateLimiter("connections_suppressed", "connections")
        self._faults = RateLimiter("errors_suppressed", "faults of connections")
        self._hosts = RateLimiter("hosts_suppressed", "changes of hosts", 50 * DEFAULT_RATE)
        super().__init__(self._samples, self._connections, self._faults, self._hosts)

    def report(self) -> None:
        """Report what was suppressed, and the samples that were deleted."""
        super().report()
        self._report_trimmed()

    def connected(self, connection: Peer, count: int) -> None:
        """Log a new agent's connection, in the original's words; `count` has it in."""
        if self._connections.allow():
            record("INFO", "connected", messages.NEW.format(connection.address), PEER=connection.name)
            record("INFO", "connection_count", messages.STATUS.format(count), COUNT=count)

    def full(self, most: int) -> None:
        """Log, now and then, that connections are refused since there are as many as may be."""
        if time.monotonic() >= self._full_due:
            self._full_due = time.monotonic() + _FULL_REPORT_SECONDS
            text = f"there are {most} connections, no more are taken (CPU_MAX_CONNECTIONS)"
            record("WARNING", "connection_limit_reached", text, COUNT=most)

    def no_descriptors(self) -> None:
        """Log, now and then, that no more files can be opened."""
        if time.monotonic() >= self._descriptors_due:
            self._descriptors_due = time.monotonic() + _FULL_REPORT_SECONDS
            text = (
                "no more files can be opened, new connections are closed: raise the limit of open files (LimitNOFILE=)"
            )
            record("WARNING", "descriptors_exhausted", text)

    def sample(self, connection: Peer, reading: Reading) -> None:
        """Log a sample, in the original's words."""
        if self._samples.rate and self._samples.allow():
            text = messages.RECEIVED.format(connection.address, reading.sample.original())
            record("INFO", "sample", text, PEER=connection.name)

    def bad(self, connection: Peer, reason: str) -> None:
        """Count and log a message that makes no sense."""
        self.bad_total += 1
        if self._faults.allow():
            record("WARNING", "message_malformed", f"{connection.name}: {printable(reason)}", PEER=connection.name)

    def hasty(self, connection: Peer) -> None:
        """Count and log a connection that sends more than it may."""
        self.hasty_total += 1
        if self._faults.allow():
            text = f"{connection.name} sends more samples a second than it may: the rest is read later"
            record("WARNING", "rate_limited", text, PEER=connection.name)

    def cut(self, connection: Peer, reason: str) -> None:
        """Count and log a connection that is given up."""
        self.cut_total += 1
        if self._faults.allow():
            record("WARNING", "connection_aborted", f"{connection.name}: {reason}, cut off", PEER=connection.name)

    def name_taken(self, host: Host, holder: Peer, newcomer: Peer) -> None:
        """Count and log that another agent has a host's name already."""
        self.name_conflicts_total += 1
        if self._faults.allow():
            name = host.kept.name
            text = f"two agents are called {name}: {holder.name} and {newcomer.name}; the second is refused"
            text += " as long as the first is there: give one of them another name (CPU_NAME, --name)"
            record("WARNING", "name_conflict", text, HOST=name, PEER=newcomer.name, HOLDER=holder.name)

    def changed(self, host: Host, event: str) -> None:
        """Log that a host is new, connected, stale, away or forgotten."""
        if self._hosts.allow():
            name = host.kept.name
            record("WARNING" if event == "stale" else "INFO", f"host_{event}", f"{name}: {event}", HOST=name)

    def forgotten(self, host: Host, days: float) -> None:
        """Log that a host is forgotten, and why."""
        name, samples = host.kept.name, host.kept.samples
        text = f"{name}: forgotten, with its history; {samples} samples came of it, and none for {days:g} days"
        record("INFO", "host_expired", f"{text} that a server ran (CPU_FORGET_DAYS)", HOST=name, COUNT=samples)

    def trimmed(self, chunks: int, most_samples: int) -> None:
        """Count old samples that were deleted; they are logged together, at once and then every hour."""
        self._trimmed += chunks
        self._kept_samples = most_samples
        if time.monotonic() >= self._trim_due:
            self._report_trimmed()

    def _report_trimmed(self) -> None:
        if self._trimmed:
            text = (
                f"the oldest samples are deleted, {self._trimmed} chunks of {CHUNK} at most, where a host has more than"
            )
            record("INFO", "history_trimmed", f"{text} {self._kept_samples} (CPU_HISTORY_SAMPLES)", COUNT=self._trimmed)
        self._trimmed, self._trim_due = 0, time.monotonic() + _TRIM_REPORT_SECONDS

    def crossed(self, host: Host, crossing: Crossing) -> None:
        """Log that a threshold was crossed, or that this is over."""
        (metric, high, low), name = crossing.threshold, host.kept.name
        if crossing.over:
            level, event, text = "INFO", "threshold_cleared", f"is down to {crossing.value:.1f} % (low: {low:g} %)"
        else:
            level, event, text = "WARNING", "threshold_crossed", f"is at {crossing.value:.1f} % (high: {high:g} %)"
        record(level, event, f"{name}: {metric} {text}", HOST=name, METRIC=metric, VALUE=f"{crossing.value:.1f}")
