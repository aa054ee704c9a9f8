"""The metrics' server: starts, sweeps, reloads and stops the parts that a sample passes.

They are, in this order: `net/tcp_server.py`, `connection.py`, `agents.py`, `hosts.py`, `host.py`, `writer.py` and
`history.py`.
"""

import asyncio
import errno
import os
import time
from collections.abc import Callable

import orjson

from frota.core import commands
from frota.core.tasks import EssentialTasks, essential
from frota.cpu import messages, settings
from frota.cpu.server import host_metrics
from frota.cpu.server.agents import SWEEP_S, Agents
from frota.cpu.server.clock import Clock
from frota.cpu.server.connection import MetricsConnection, Services
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.history import History
from frota.cpu.server.hosts import Hosts
from frota.cpu.server.metrics import metrics
from frota.cpu.server.responses import Responses, ResponseTasks
from frota.cpu.server.writer import HistoryWriter
from frota.cpu.settings import ServerSettings
from frota.logs import log
from frota.net.http import MonitoringServer
from frota.net.listen import listening_sockets
from frota.net.tcp_server import Limits, TcpConnection, TcpServer, Watermarks, connection_limits
from frota.storage import state_folder

_BACKLOG = 4096  # connections that are not accepted yet: after a restart all agents connect at once
_MAX_PENDING_SAMPLES = 50_000  # high watermark of samples that wait for the disk
_FIRST_MESSAGE_TIMEOUT_S = 10.0
_REJECTION = orjson.dumps({"frota": messages.VERSION, "error": messages.SERVER_FULL}) + b"\n"


class Server:
    """The service behind `frota cpu serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ServerSettings, reread: Callable[[], ServerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self.event_log = EventLog(config.log_samples_per_second)
        self.clock = Clock()
        self.hosts = Hosts(self.clock.now, config.expiry_days * 86400)
        self._tasks = EssentialTasks(end)

    async def start(self) -> str:
        """Open the history and listen. Raises OSError and StateError."""
        config = self.settings
        accepted, rejected = connection_limits(config.max_connections, "CPU_MAX_CONNECTIONS")
        limits = Limits(accepted, rejected, first_message_timeout_s=_FIRST_MESSAGE_TIMEOUT_S)
        self.tcp = TcpServer(limits, self.event_log, _REJECTION, self._handler)
        self._lock = state_folder.lock(config.directory)
        self.writer = HistoryWriter(History(config.directory), self.hosts, config, self.event_log, self._end)
        await self.writer.open()
        self.services = self._make_services(config)
        await self.services.responses.open()
        self.addresses = await self.tcp.listen(listening_sockets(config.host, config.port, _BACKLOG), _BACKLOG)
        await self._monitoring.start(config.metrics_host, config.metrics_port)
        self._tasks.start(self._sweep())
        self._writing = essential(self.writer.run(self.services.agents, self._committed), self._end)
        for address in self.addresses:
            log.record("INFO", "starting", messages.RUNNING.format(address), ADDRESS=address)
        return f"listening on {', '.join(self.addresses)}, {len(self.hosts)} hosts known"

    async def stop(self) -> None:
        """Accept nothing new, write and acknowledge what was received, close."""
        self.tcp.stop_accepting()
        await self._monitoring.stop()
        self.writer.stop()
        await self.services.tasks.cancel()
        swept = self._tasks.alive()
        await self._tasks.cancel()
        [error] = await asyncio.gather(self._writing, return_exceptions=True)
        self.tcp.drain()
        await self.tcp.close()
        self.services.responses.close()
        await self.writer.close()
        self._lock.close()
        self.event_log.report()
        failed = self.writer.failed or error or not swept
        outcome = "agents keep what was not acknowledged" if failed else "everything received is on disk"
        log.record("INFO", "stopped", f"stopped; {outcome}")

    def healthy(self) -> bool:
        """Tell whether the disk keeps up and the limits are enforced."""
        return self.writer.healthy() and self._tasks.alive() and not self._writing.done()

    def reload(self) -> None:
        """Read the settings again and apply those that may change live."""
        self.settings = config = commands.take_live(self.settings, self._reread(), settings.PREFIX)
        self.services.settings = self.writer.settings = config
        self.services.agents.configure(config)
        self.event_log.configure(config.log_samples_per_second)
        log.configure(settings.SYSTEM, settings.SERVER_UNIT, config.log_level)

    def _handler(self, connection: TcpConnection) -> MetricsConnection:
        return MetricsConnection(self.services, connection)

    def _make_services(self, config: ServerSettings) -> Services:
        """Create what the connections share."""
        tcp, event_log, hosts = self.tcp, self.event_log, self.hosts
        pending = Watermarks(_MAX_PENDING_SAMPLES, _MAX_PENDING_SAMPLES // 2, tcp.pause_reading, tcp.resume_reading)
        agents = Agents(hosts, config, event_log, tcp.clock, pending)
        own = metrics(hosts, agents, tcp, self.writer, event_log)
        self._monitoring = MonitoringServer(own, self.healthy, lambda: host_metrics.text(hosts))
        routes = {b"/metrics": self._monitoring.metrics}
        responses = Responses(hosts, config.directory)
        return Services(config, agents, pending, responses, routes, ResponseTasks(), event_log)

    def _committed(self) -> None:
        self.services.pending.update(len(self.hosts.changes.recent))

    async def _sweep(self) -> None:
        while True:
            self.tcp.sweep()
            self.clock.sweep()
            self.hosts.chunk_old_tails(time.monotonic())
            self.services.agents.sweep()
            if not _can_open_file():
                self.event_log.no_descriptors()
            self.event_log.sweep()
            await asyncio.sleep(SWEEP_S)


def _can_open_file() -> bool:
    """Tell whether a descriptor is left; without one the event loop closes new connections without an answer."""
    try:
        os.close(os.dup(0))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True
