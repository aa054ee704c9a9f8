"""The agents that are connected: which host each of them measures, and what becomes of their samples."""

from collections import defaultdict
from heapq import heappop, heappush
from typing import Protocol

from frota.core.errors import MalformedMessage
from frota.cpu import messages
from frota.cpu.framing import Hello, SampleMessage
from frota.cpu.server import name_conflicts
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.host import Host
from frota.cpu.server.hosts import Hosts
from frota.cpu.server.name_conflicts import NameRegistry
from frota.cpu.session import Step
from frota.cpu.settings import ServerSettings
from frota.net.tcp_server import CoarseClock, Watermarks

SWEEP_S = 1.0  # also the resolution of the server's time
_MAX_SEQUENCE_JUMP = 2**32  # between two samples: 13 years of an agent that measures ten times a second


class Connection(name_conflicts.Connection, Protocol):
    """What the agents need of a connection."""

    name_numbers: list[int]


class Agents:
    """Hosts by connection. `pending` are the watermarks of samples that wait for the disk."""

    def __init__(
        self, hosts: Hosts, settings: ServerSettings, event_log: EventLog, clock: CoarseClock, pending: Watermarks
    ) -> None:
        self.settings = settings
        self.names = NameRegistry(event_log, clock)
        self._hosts, self._event_log, self._clock, self._pending = hosts, event_log, clock, pending
        self._connected: set[Connection] = set()
        self._legacy_names = LegacyNames()
        self._acknowledgements: dict[Connection, tuple[str, int]] = {}  # due after the next commit
        self._keep_crossings()

    @property
    def connected(self) -> int:
        """The number of connected agents."""
        return len(self._connected)

    def configure(self, settings: ServerSettings) -> None:
        """Apply settings that may change live."""
        self.settings = settings
        self._keep_crossings()

    def greet(self, connection: Connection, hello: Hello) -> None:
        """Identify a native agent, unless another agent has its host's name. Raises MalformedMessage."""
        if connection.host and connection.host.row.name != hello.host:
            raise MalformedMessage(messages.INVALID_HELLO)
        self._check_host_limit(hello.host)
        connection.instance = hello.instance
        known = self._hosts.get(hello.host)
        if known and self.names.contested(known, connection, hello):
            return
        host = self._hosts.greet(hello)
        self._attach(connection, host)
        self._acknowledgements[connection] = ("last", host.row.last)

    def identify_legacy(self, connection: Connection) -> None:
        """Identify a legacy agent by its address, numbered if there are several of it. Raises MalformedMessage."""
        address = connection.address[0]
        while True:
            number = self._legacy_names.take(address)
            connection.name_numbers.append(number)  # also if a native agent has that name
            name = address if number == 1 else f"{address}:{number}"
            host = self._hosts.get(name)
            if host is None or host.connection is None:
                break
        self._check_host_limit(name)
        self._attach(connection, self._hosts.get_or_create(name, "original", self.settings.default_interval))

    def receive(self, connection: Connection, reading: SampleMessage) -> None:
        """Take a sample in; it is acknowledged when it is on disk. Raises MalformedMessage."""
        host = connection.host
        if host is None or host.connection is not connection:
            return
        _check_number(host, reading)
        self._event_log.sample(connection, reading, host.row.run)
        host.heard = self._clock.now
        if host.stale:
            host.stale = False
            self._event_log.changed(host, "connected")
        if self._hosts.take(host, reading):
            self._check_thresholds(host, reading)
            self._pending.update(len(self._hosts.changes.recent))
        if reading.number:
            kind, _ = self._acknowledgements.get(connection, ("ack", 0))
            self._acknowledgements[connection] = (kind, host.row.last)

    def take_acknowledgements(self) -> dict[Connection, tuple[str, int]]:
        """Return, by connection, what is due for the samples received so far: "last" or "ack", and a number."""
        due, self._acknowledgements = self._acknowledgements, {}
        return due

    def disconnect(self, connection: Connection) -> None:
        """Forget a connection; its host is disconnected."""
        self._connected.discard(connection)
        self._acknowledgements.pop(connection, None)
        for number in connection.name_numbers:
            self._legacy_names.give_back(connection.address[0], number)
        host = connection.host
        if host and host.connection is connection:
            host.connection = None
            self._hosts.touch(host)
            self._event_log.changed(host, "disconnected")
        self.names.disconnected(connection)

    def sweep(self) -> None:
        """Find the hosts that have become stale, and forget those without a sample for CPU_EXPIRY_DAYS."""
        oldest = self._clock.now - self.settings.expiry_days * 86400
        for host in self._hosts:
            if host.rivals:
                self.names.sweep(host)
            if host.connection is None:
                if host.heard < oldest:
                    self._event_log.forgotten(host, self.settings.expiry_days)
                    self._hosts.forget(host)
            elif not host.stale and self._clock.now - host.heard > self.stale_seconds(host):
                host.stale = True
                self._event_log.changed(host, "stale")

    def stale_seconds(self, host: Host) -> float:
        """Return after how many seconds without a sample a host is stale: never less than two sweeps."""
        return max(self.settings.stale_intervals * host.row.interval, 2 * SWEEP_S)

    def dead_seconds(self, host: Host) -> float:
        """Return after how many seconds without input the connection of a host is closed."""
        return max(self.settings.dead_intervals * host.row.interval, 4 * SWEEP_S)

    def _attach(self, connection: Connection, host: Host) -> None:
        former = host.connection
        if former is connection:
            return
        host.connection = connection.host = None
        if former:
            self._connected.discard(former)
            self._event_log.replaced(former)
            former.reject(messages.REPLACED)
        host.connection, connection.host = connection, host
        connection.advance(Step.IDENTIFIED)
        host.heard, host.stale = self._clock.now, False
        self.names.served(host, connection)
        self._connected.add(connection)
        self._event_log.agent_connected(connection, len(self._connected))
        self._event_log.changed(host, "connected")

    def _check_thresholds(self, host: Host, reading: SampleMessage) -> None:
        settings = self.settings
        for crossing in host.crossings.check(reading.sample, settings.thresholds, settings.threshold_samples):
            self._event_log.crossed(host, crossing)
            self._hosts.touch(host)

    def _keep_crossings(self) -> None:
        for host in self._hosts:
            if host.crossings.keep(self.settings.thresholds):
                self._hosts.touch(host)

    def _check_host_limit(self, name: str) -> None:
        if self._hosts.get(name) is None and len(self._hosts) >= self.settings.max_hosts:
            raise MalformedMessage(messages.SERVER_FULL)


class LegacyNames:
    """Numbers, from 1, that distinguish the legacy agents of one address; O(log n), as a whole site may share it."""

    def __init__(self) -> None:
        self._addresses: defaultdict[str, _Numbers] = defaultdict(_Numbers)

    def __len__(self) -> int:
        return len(self._addresses)

    def take(self, address: str) -> int:
        """Return the lowest free number, so that an agent that reconnects gets its former one."""
        numbers = self._addresses[address]
        if numbers.free:
            return heappop(numbers.free)
        numbers.highest += 1
        return numbers.highest

    def give_back(self, address: str, number: int) -> None:
        """Free a number; an address without taken numbers is forgotten."""
        numbers = self._addresses[address]
        heappush(numbers.free, number)
        if len(numbers.free) == numbers.highest:
            del self._addresses[address]


class _Numbers:
    def __init__(self) -> None:
        self.highest = 0  # that was ever taken
        self.free: list[int] = []  # a heap


def _check_number(host: Host, reading: SampleMessage) -> None:
    limit = host.row.last + _MAX_SEQUENCE_JUMP
    if reading.number > limit:
        bad = MalformedMessage(messages.INVALID_SAMPLE.format(f"n é {reading.number}, esperava no máximo {limit}"))
        bad.number = reading.number
        raise bad
