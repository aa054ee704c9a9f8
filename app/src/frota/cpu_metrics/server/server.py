"""The metrics' server: what its connections share, the writing to disk, and the limits that are kept."""

import asyncio
import errno
import os
import resource
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from frota.core import commands
from frota.core.tasks import essential
from frota.cpu_metrics import messages, settings
from frota.cpu_metrics.framing import BadMessage, Hello, Reading
from frota.cpu_metrics.server.clock import Clock
from frota.cpu_metrics.server.connection import Connection
from frota.cpu_metrics.server.event_log import EventLog
from frota.cpu_metrics.server.history import History
from frota.cpu_metrics.server.host import Host
from frota.cpu_metrics.server.hosts import Hosts
from frota.cpu_metrics.server.http import MetricsEndpoint
from frota.cpu_metrics.server.name_conflicts import NameRegistry
from frota.cpu_metrics.server.responses import Responses
from frota.cpu_metrics.server.unnamed_agents import UnnamedAgents
from frota.cpu_metrics.settings import ServerSettings
from frota.logs import log
from frota.net.addresses import endpoint
from frota.net.listen import listening_sockets
from frota.net.tcp_server import connection_limits
from frota.storage import state_folder

_SWEEP_SECONDS = 1.0  # it is also how exactly the server knows when something came
_BACKLOG = 4096  # connections that are not accepted yet: after a restart all agents come at once
_MOST_UNWRITTEN = 50_000  # samples; more come in only when the disk has caught up
_ANSWERS = 8  # that are made at a time: each may take a few MiB
_MOST_JUMP = 2**32  # numbers between two samples: 13 years of an agent that measures ten times a second
_STUCK_SECONDS = 20.0  # for one write; then the disk is no disk any more


class Server:
    """The service behind `frota cpu serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ServerSettings, reread: Callable[[], ServerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self.event_log = EventLog(config.log_samples_per_second)
        self.clock = Clock()
        self.hosts = Hosts(self.clock.now, config.forget_days * 86400)
        self.replies = Responses(self.hosts, config.directory)
        self.web = MetricsEndpoint(self.hosts, self._own)
        self.names = NameRegistry(self.event_log, lambda: self.now)
        self._connections: set[Connection] = set()
        self._agents: set[Connection] = set()  # those of them that send samples
        self._address_numbers = UnnamedAgents()
        self._answers: dict[Connection, tuple[str, int]] = {}  # what is told as soon as all is on disk
        self.answering = asyncio.Semaphore(_ANSWERS)
        self._viewers: set[asyncio.Task[None]] = set()
        self._most_connections = config.max_connections
        self._thread = ThreadPoolExecutor(1, "history")
        self._writing_since = 0.0
        self._failed = False
        self._stopping = asyncio.Event()

    async def start(self) -> str:
        """Open the history and listen."""
        config, loop = self.settings, asyncio.get_running_loop()
        self.now = loop.time()
        self._lock = state_folder.lock(config.directory)
        self._history = History(config.directory)
        await loop.run_in_executor(self._thread, self._history.open)
        self.hosts.restore(*await loop.run_in_executor(self._thread, self._history.load))
        self._keep_crossings()
        await self.replies.open()
        self._most_connections, _ = connection_limits(config.max_connections, "CPU_MAX_CONNECTIONS")
        sockets = listening_sockets(config.host, config.port, _BACKLOG)
        self._listeners = [await loop.create_server(self._connect, sock=sock, backlog=_BACKLOG) for sock in sockets]
        self._sweeping, self._writing = essential(self._sweep(), self._end), essential(self._write(), self._end)
        addresses = [endpoint(*sock.getsockname()[:2]) for sock in sockets]
        for address in addresses:
            log.record("INFO", "starting", messages.RUNNING.format(address), ADDRESS=address)
        return f"listening on {', '.join(addresses)}, {len(self.hosts)} hosts known"

    async def stop(self) -> None:
        """Accept nothing new, put on disk and acknowledge what came, close."""
        for listener in self._listeners:
            listener.close()
        self._stopping.set()
        for task in [self._sweeping, *self._viewers]:
            task.cancel()
        ends = await asyncio.gather(self._writing, self._sweeping, *self._viewers, return_exceptions=True)
        for connection in list(self._connections):
            connection.close()
        self.replies.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._history.close)
        self._thread.shutdown()
        self._lock.close()
        self.event_log.report()
        failed = self._failed or any(isinstance(end, Exception) for end in ends)
        what = "what was not acknowledged is left to its agents" if failed else "everything that came is on disk"
        log.record("INFO", "stopped", f"stopped; {what}")

    def healthy(self) -> bool:
        """Tell whether the disk keeps up and the limits are enforced."""
        stuck = self._writing_since and time.monotonic() - self._writing_since > _STUCK_SECONDS
        return not stuck and not any(task.done() for task in (self._sweeping, self._writing))

    def reload(self) -> None:
        """Read the settings again and take those that may change live."""
        self.settings = commands.take_live(self.settings, self._reread(), settings.PREFIX)
        self.event_log.configure(self.settings.log_samples_per_second)
        self._keep_crossings()
        log.configure(settings.SYSTEM, settings.SERVER_UNIT, self.settings.log_level)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in, unless there are too many."""
        if len(self._connections) >= self._most_connections:
            self.event_log.full(self._most_connections)
            return False
        self._connections.add(connection)
        self.event_log.connected_total += 1
        return True

    def forget(self, connection: Connection) -> None:
        """Count a connection out; its host is away then."""
        self._connections.discard(connection)
        self._agents.discard(connection)
        self._answers.pop(connection, None)
        for number in connection.address_numbers:
            self._address_numbers.give_back(connection.address[0], number)
        host = connection.host
        if host and host.connection is connection:
            host.connection = None
            self.hosts.touch(host)
            self.event_log.changed(host, "disconnected")
        self.names.gone(connection)

    def greet(self, connection: Connection, hello: Hello) -> None:
        """Identify the agent, unless another one holds the name: see name_conflicts.py."""
        if connection.host and connection.host.kept.name != hello.host:
            raise BadMessage(messages.BAD_HELLO)
        self._require_room(hello.host)
        connection.instance = hello.instance
        known = self.hosts.get(hello.host)
        if known and self.names.contested(known, connection, hello):
            return
        host = self.hosts.greet(hello)
        self._attach(connection, host)
        self._answers[connection] = ("last", host.kept.last)

    def greet_original(self, connection: Connection) -> None:
        """Know an agent of the original's by its address; those of one address are told apart by a number."""
        address = connection.address[0]
        while True:
            number = self._address_numbers.take(address)
            connection.address_numbers.append(number)  # kept, too, where an agent that says who it is has that name
            name = address if number == 1 else f"{address}:{number}"
            host = self.hosts.get(name)
            if host is None or host.connection is None:
                break
        self._require_room(name)
        self._attach(connection, self.hosts.known(name, "original", self.settings.default_interval))

    def take(self, connection: Connection, reading: Reading) -> None:
        """Take a sample in; it is acknowledged when it is on disk."""
        host = connection.host
        if host is None or host.connection is not connection:
            return
        if reading.number > host.kept.last + _MOST_JUMP:
            limit = host.kept.last + _MOST_JUMP
            text = messages.BAD_SAMPLE.format(f"n é {reading.number}, esperava no máximo {limit}")
            bad = BadMessage(text)
            bad.number = reading.number
            raise bad
        self.event_log.sample(connection, reading)
        host.heard = self.now
        if host.stale:
            host.stale = False
            self.event_log.changed(host, "connected")
        if self.hosts.take(host, reading):
            config = self.settings
            for crossing in host.crossings.take(reading.sample, config.thresholds, config.threshold_samples):
                self.event_log.crossed(host, crossing)
                self.hosts.touch(host)
        if reading.number:
            self._answers.setdefault(connection, ("ack", 0))
            kind, _ = self._answers[connection]
            self._answers[connection] = (kind, host.kept.last)

    def stale_seconds(self, host: Host) -> float:
        """Return after how long without a sample a host is stale; a silence of less than two sweeps may be none."""
        return max(self.settings.stale_intervals * host.kept.interval, 2 * _SWEEP_SECONDS)

    def dead_seconds(self, host: Host) -> float:
        """Return after how long without a word a host's connection is given up."""
        return max(self.settings.dead_intervals * host.kept.interval, 4 * _SWEEP_SECONDS)

    def show(self, viewing: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Answer a viewer beside everything else."""
        task = asyncio.get_running_loop().create_task(viewing)
        self._viewers.add(task)
        task.add_done_callback(self._viewers.discard)
        return task

    def _connect(self) -> Connection:
        return Connection(self)

    def _attach(self, connection: Connection, host: Host) -> None:
        former = host.connection
        if former is connection:
            return
        host.connection = connection.host = None
        if former:
            self._agents.discard(former)
            self.event_log.cut(former, messages.REPLACED)
            former.refuse(messages.REPLACED)
        host.connection, connection.host = connection, host
        host.heard, host.stale = self.now, False
        self.names.served(host, connection)
        self._agents.add(connection)
        self.event_log.connected(connection, len(self._agents))
        self.event_log.changed(host, "connected")

    def _keep_crossings(self) -> None:
        for host in self.hosts:
            if host.crossings.keep(self.settings.thresholds):
                self.hosts.touch(host)

    def _require_room(self, name: str) -> None:
        if self.hosts.get(name) is None and len(self.hosts) >= self.settings.max_hosts:
            raise BadMessage(messages.FULL)

    async def _sweep(self) -> None:
        while True:
            self.now = asyncio.get_running_loop().time()
            if len(self.hosts.changes.recent) < _MOST_UNWRITTEN:
                for connection in list(self._connections):
                    connection.sweep()
            self.clock.sweep()
            self.hosts.settle(time.monotonic())
            self._look_at_hosts()
            if not _can_open():
                self.event_log.no_descriptors()
            self.event_log.sweep()
            await asyncio.sleep(_SWEEP_SECONDS)

    def _look_at_hosts(self) -> None:
        oldest = self.now - self.settings.forget_days * 86400
        for host in self.hosts:
            if host.rivals:
                self.names.sweep(host)
            if host.connection is None:
                if host.heard < oldest:
                    self.event_log.forgotten(host, self.settings.forget_days)
                    self.hosts.forget(host)
            elif not host.stale and self.now - host.heard > self.stale_seconds(host):
                host.stale = True
                self.event_log.changed(host, "stale")

    async def _write(self) -> None:
        """Write again and again, for the last time when all that will come has come."""
        last = False
        while not last:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.commit_seconds):
                    await self._stopping.wait()
            last = self._stopping.is_set()
            try:
                await self._commit()
            except OSError as error:
                text = f"{error}; nothing more is acknowledged, and the server ends"
                log.record("CRITICAL", "disk_failed", text)
                self._failed = True
                self._end(1)
                return

    async def _commit(self) -> None:
        """Put on disk what came, then tell those who wait for that. Raises OSError."""
        changes, answers = self.hosts.take_changes(self.settings.history_samples), self._answers
        self._answers = {}
        if changes.recent or changes.hosts or changes.chunks or changes.forgotten:
            self._writing_since = time.monotonic()
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._history.write, changes)
            if trimmed := await work:
                self.event_log.trimmed(trimmed, self.settings.history_samples)
            self._writing_since = 0.0
            self.hosts.written()
        for connection, (kind, number) in answers.items():
            connection.acknowledge(kind, number)

    def _own(self) -> Iterator[tuple[str, str, str, float]]:
        states = [host.state for host in self.hosts]
        for name in ("connected", "stale", "away"):
            yield f"frota_cpu_server_hosts_{name}", "gauge", f"Hosts that are {name}.", states.count(name)
        yield "frota_cpu_server_connections", "gauge", "Connections now.", len(self._connections)
        event_log, usage = self.event_log, resource.getrusage(resource.RUSAGE_SELF)
        yield "frota_cpu_server_connections_total", "counter", "Connections that were made.", event_log.connected_total
        yield "frota_cpu_server_bad_messages_total", "counter", "Messages that made no sense.", event_log.bad_total
        yield (
            "frota_cpu_server_hasty_total",
            "counter",
            "Seconds in which a connection sent too much.",
            event_log.hasty_total,
        )
        yield (
            "frota_cpu_server_name_conflicts_total",
            "counter",
            "Agents whose name another agent had.",
            event_log.name_conflicts_total,
        )
        yield "frota_cpu_server_cut_total", "counter", "Connections that were cut off.", event_log.cut_total
        yield "process_cpu_seconds_total", "counter", "CPU time of the server.", usage.ru_utime + usage.ru_stime
        yield "process_resident_memory_bytes", "gauge", "Memory of the server.", _resident()


def _can_open() -> bool:
    """Tell whether there is a descriptor left: without one, the event loop closes new connections without a word."""
    try:
        os.close(os.dup(0))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def _resident() -> int:
    """Return the bytes of this process that are in memory now (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
