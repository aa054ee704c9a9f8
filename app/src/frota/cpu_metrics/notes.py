"""What the server logs, as far as the budgets go, and what it counts."""

import time
from typing import TYPE_CHECKING

from frota.budget import Budget, Budgets
from frota.core.log import printable, record
from frota.cpu_metrics import messages
from frota.cpu_metrics.framing import Reading
from frota.cpu_metrics.thresholds import Crossing

if TYPE_CHECKING:
    from frota.cpu_metrics.connection import Connection
    from frota.cpu_metrics.host import Host

_RECORDS_PER_SECOND = 20  # of each kind that strangers can provoke


class Notes:
    """Writes the records, and counts what they are about."""

    def __init__(self, samples_per_second: int) -> None:
        self.connected_total = self.bad_total = self.hasty_total = self.cut_total = 0
        self._samples = Budget("samples_omitted", "samples", samples_per_second)
        self._connections = Budget("connections_omitted", "connections", _RECORDS_PER_SECOND)
        self._faults = Budget("faults_omitted", "faults of connections", _RECORDS_PER_SECOND)
        self._hosts = Budget("hosts_omitted", "changes of hosts", 50 * _RECORDS_PER_SECOND)
        self._budgets = Budgets(self._samples, self._connections, self._faults, self._hosts)

    def configure(self, samples_per_second: int) -> None:
        """Take a new budget for samples."""
        self._samples.rate = samples_per_second

    def sweep(self) -> None:
        """Let the budgets go on with the time."""
        self._budgets.sweep(time.monotonic())

    def report(self) -> None:
        """Tell how much was left out."""
        self._budgets.report()

    def connected(self, connection: "Connection", count: int) -> None:
        """Log a new agent's connection, in the original's words; `count` has it in."""
        if self._connections.allow():
            record("INFO", "connected", messages.NEW.format(connection.address), PEER=connection.name)
            record("INFO", "status", messages.STATUS.format(count), COUNT=count)

    def sample(self, connection: "Connection", reading: Reading) -> None:
        """Log a sample, in the original's words."""
        if self._samples.rate and self._samples.allow():
            text = messages.RECEIVED.format(connection.address, reading.sample.original())
            record("INFO", "sample", text, PEER=connection.name)

    def bad(self, connection: "Connection", reason: str) -> None:
        """Count and log a message that makes no sense."""
        self.bad_total += 1
        if self._faults.allow():
            record("WARNING", "bad_message", f"{connection.name}: {printable(reason)}", PEER=connection.name)

    def hasty(self, connection: "Connection") -> None:
        """Count and log a connection that sends more than it may."""
        self.hasty_total += 1
        if self._faults.allow():
            text = f"{connection.name} sends more samples a second than it may: the rest is read later"
            record("WARNING", "hasty", text, PEER=connection.name)

    def cut(self, connection: "Connection", reason: str) -> None:
        """Count and log a connection that is given up."""
        self.cut_total += 1
        if self._faults.allow():
            record("WARNING", "cut", f"{connection.name}: {reason}, cut off", PEER=connection.name)

    def changed(self, host: "Host", event: str) -> None:
        """Log that a host is new, connected, stale, away or forgotten."""
        if self._hosts.allow():
            name = host.kept.name
            record("WARNING" if event == "stale" else "INFO", f"host_{event}", f"{name}: {event}", HOST=name)

    def crossed(self, host: "Host", crossing: Crossing) -> None:
        """Log that a threshold was crossed, or that this is over."""
        (metric, high, low), name = crossing.threshold, host.kept.name
        if crossing.over:
            level, event, text = "INFO", "threshold_over", f"is down to {crossing.value:.1f} % (low: {low:g} %)"
        else:
            level, event, text = "WARNING", "threshold_crossed", f"is at {crossing.value:.1f} % (high: {high:g} %)"
        record(level, event, f"{name}: {metric} {text}", HOST=name, METRIC=metric, VALUE=f"{crossing.value:.1f}")
