"""The sensors' server: starts, sweeps, reloads and stops the parts that a reading passes.

They are, in this order: `net/tcp_server.py`, `connection.py`, `batch.py`, `backpressure.py`,
`storage/wal/group_commit.py`, and, once it is durable, `connection.py` again for the answer and `subscriptions.py`.
"""

import asyncio
from collections.abc import Callable

from frota.core import commands
from frota.core.tasks import EssentialTasks
from frota.logs import log
from frota.net.http import MonitoringServer
from frota.net.listen import listening_sockets
from frota.net.tcp_server import Limits, TcpConnection, TcpServer, Watermarks, connection_limits
from frota.sensors import messages, settings, units
from frota.sensors.server.backpressure import ReadingStore
from frota.sensors.server.batch import Batcher
from frota.sensors.server.connection import SensorConnection, Services
from frota.sensors.server.event_log import EventLog
from frota.sensors.server.metrics import metrics
from frota.sensors.server.producers import ProducerRegistry
from frota.sensors.server.subscriptions import Subscriptions
from frota.sensors.settings import ServerSettings
from frota.sensors.staleness import SensorMonitor
from frota.storage.wal.group_commit import Batch as Group
from frota.storage.wal.group_commit import WriteAheadLog
from frota.storage.wal.log import Limits as Retention
from frota.storage.wal.log import LogFiles

_MIN_ANSWER_BYTES_PER_S = 1024.0  # a peer that reads its answers more slowly is disconnected
_MAX_SWEEP_S = 0.25


class SensorServer:
    """The service behind `frota sensors serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ServerSettings, reread: Callable[[], ServerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self._tasks = EssentialTasks(end)
        self.monitor = SensorMonitor(config.ranges, config.stale_after)
        self.event_log = EventLog(config.directory, config.log_readings_per_second)

    async def start(self) -> str:
        """Open the WAL and listen. Raises OSError and StateError."""
        config, loop = self.settings, asyncio.get_running_loop()
        rejection = f"{messages.ERROR}{messages.SERVER_FULL}".encode()
        self.tcp = TcpServer(self._limits(), self.event_log, rejection, self._handler)
        retention = Retention(config.segment_bytes, config.retention_bytes, config.retention_days * 86400)
        self.wal = WriteAheadLog(LogFiles(config.directory, retention), loop, self._disk_failed)
        self.services = self._make_services(config)
        self.wal.on_commit = self._committed
        sockets = listening_sockets(config.host, config.port, config.backlog)
        addresses = await self.tcp.listen(sockets, config.backlog)
        own = metrics(self.tcp, self.event_log, self.monitor, self.wal, self.services.subscriptions)
        # Not `healthy`, which compares two moments: its calls must be the watchdog's alone.
        self._monitoring = MonitoringServer(own, self._tasks.alive)
        await self._monitoring.start(config.metrics_host, config.metrics_port)
        self._tasks.start(self._sweep())
        for address in addresses:
            log.record("INFO", "starting", f"Servidor iniciando em {address}", ADDRESS=address)
        return f"listening on {', '.join(addresses)}"

    async def stop(self) -> None:
        """Accept nothing new, answer what was received, close."""
        await self._tasks.cancel()
        await self._monitoring.stop()
        self.tcp.stop_accepting()
        self.services.subscriptions.cancel_all()
        self.tcp.drain()
        await self.wal.drain()
        await self.tcp.close()
        await self.wal.close()
        self.services.subscriptions.close()
        self.event_log.report()
        log.record("INFO", "stopped", "stopped; everything acknowledged is on disk")

    def healthy(self) -> bool:
        """Tell whether the disk keeps up and the limits are enforced."""
        return self.wal.healthy() and self._tasks.alive()

    def reload(self) -> None:
        """Read the settings again and apply those that may change live."""
        self.settings = config = commands.take_live(self.settings, self._reread(), settings.PREFIX)
        self.services.settings = config
        self.tcp.configure(self._limits())
        self.monitor.configure(config.ranges, config.stale_after)
        self.event_log.configure(config.log_readings_per_second)
        self.services.subscriptions.max_streams = config.max_viewers
        log.configure(settings.SYSTEM, settings.SERVER_UNIT, config.log_level)

    def _handler(self, connection: TcpConnection) -> SensorConnection:
        return SensorConnection(self.services, connection)

    def _make_services(self, config: ServerSettings) -> Services:
        """Create what the connections share."""
        known_units = units.checked(config.known_units)
        pattern = messages.open_pattern(known_units)
        high = config.max_backlog_bytes
        watermarks = Watermarks(high, high // 2, self.tcp.pause_reading, self.tcp.resume_reading)
        store = ReadingStore(self.wal, self.monitor, self.tcp.clock, watermarks)
        subscriptions = Subscriptions(config.directory, self.wal, self.event_log.damage, config.max_viewers)
        batcher = Batcher(store, self.event_log, pattern)
        return Services(config, pattern, known_units, store, batcher, ProducerRegistry(), subscriptions, self.event_log)

    def _limits(self) -> Limits:
        config = self.settings
        accepted, rejected = connection_limits(config.max_connections, f"{settings.PREFIX}MAX_CONNECTIONS")
        return Limits(
            accepted, rejected, unread_timeout_s=config.unread_timeout, min_bytes_per_s=_MIN_ANSWER_BYTES_PER_S
        )

    def _committed(self, group: Group) -> None:
        self.services.subscriptions.publish(group)
        self.services.store.committed()

    def _disk_failed(self, error: Exception) -> None:
        text = (
            f"{self.settings.directory}: {error}; the content of the disk is unknown, so nothing more is acknowledged"
        )
        log.record("CRITICAL", "disk_failed", text, error=None if isinstance(error, OSError) else error)
        self._end(1)

    async def _sweep(self) -> None:
        while True:
            self.tcp.sweep()
            now = self.tcp.clock.now
            self.event_log.sensors(*self.monitor.sweep(now), self.settings.stale_after)
            self.event_log.sweep(now)
            limits = self.settings
            shortest = min(limits.incomplete_timeout, limits.idle_timeout, limits.unread_timeout)
            await asyncio.sleep(min(_MAX_SWEEP_S, shortest / 4))
