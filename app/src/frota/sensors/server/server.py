"""The sensors' server: what its connections share, and the limits they keep."""

import asyncio
from collections.abc import Callable

from frota.core import commands
from frota.core.tasks import EssentialTasks
from frota.logs import log
from frota.net.addresses import endpoint
from frota.net.listen import bounded, listening_sockets
from frota.sensors import messages, settings, units
from frota.sensors.server.batch import Batcher
from frota.sensors.server.connection import Connection
from frota.sensors.server.event_log import EventLog
from frota.sensors.server.subscriptions import Subscriptions
from frota.sensors.server.transport import BACKLOG
from frota.sensors.settings import ServerSettings
from frota.sensors.staleness import SensorMonitor
from frota.storage.wal.group_commit import Batch as Group
from frota.storage.wal.group_commit import WriteAheadLog
from frota.storage.wal.log import Limits, LogFiles


class SensorServer:
    """The service behind `frota sensors serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ServerSettings, reread: Callable[[], ServerSettings], end: Callable[[int], None]
    ) -> None:
        self._reread, self._end = reread, end
        self.settings = config
        self._tasks = EssentialTasks(end)
        self.directory = config.directory
        self.known_units = units.checked(config.known_units)
        self.pattern = messages.open_pattern(self.known_units)
        self.watch = SensorMonitor(config.ranges, config.stale_after)
        self._connections: set[Connection] = set()
        self._refused: dict[Connection, None] = {}  # that have yet to read why, the oldest first
        self._not_reading: set[Connection] = set()
        self._clients: dict[bytes, Connection] = {}
        self.event_log = EventLog(self.directory, config.log_readings_per_second)

    async def start(self) -> str:
        """Open the log and listen."""
        self.loop = loop = asyncio.get_running_loop()
        self.now = loop.time()
        self.batcher = Batcher(self, self.pattern)
        self._bound()
        keep = Limits(self.settings.segment_bytes, self.settings.keep_bytes, self.settings.keep_days * 86400)
        self.wal = WriteAheadLog(LogFiles(self.directory, keep), loop, self._disk_failed)
        self.wal.on_commit = self._committed
        self.subscriptions = Subscriptions(self.directory, self.wal, self.event_log.damage, self.settings.max_viewers)
        sockets = listening_sockets(self.settings.host, self.settings.port, self.settings.backlog)
        backlog = self.settings.backlog
        self._listeners = [await loop.create_server(self._connect, sock=sock, backlog=backlog) for sock in sockets]
        self._tasks.start(self._sweep())
        addresses = [endpoint(*sock.getsockname()[:2]) for sock in sockets]
        for address in addresses:
            log.record("INFO", "starting", f"Servidor iniciando em {address}", ADDRESS=address)
        return f"listening on {', '.join(addresses)}"

    async def stop(self) -> None:
        """Accept nothing new, answer what was received, close."""
        await self._tasks.cancel()
        for listener in self._listeners:
            listener.close()
        self.subscriptions.cancel()
        for connection in list(self._connections):
            connection.stop()
        await self.wal.drain()
        for _ in range(50):  # until the answers have left; a peer that does not read them is not waited for
            if not self._connections:
                break
            await asyncio.sleep(0.02)
        for connection in [*self._connections, *self._refused]:
            connection.abort()
        await self.wal.close()
        self.subscriptions.close()
        self.event_log.report()
        log.record("INFO", "stopped", "stopped; everything acknowledged is on disk")

    def healthy(self) -> bool:
        """Tell whether the disk keeps up and the limits are enforced."""
        return self.wal.healthy() and self._tasks.alive()

    def reload(self) -> None:
        """Read the settings again and take those that may change live."""
        new = self._reread()
        self.settings = commands.take_live(self.settings, new, settings.PREFIX)
        self._bound()
        self.watch.configure(self.settings.ranges, self.settings.stale_after)
        self.event_log.configure(self.settings.log_readings_per_second)
        self.subscriptions.most = self.settings.max_viewers
        log.configure(settings.SYSTEM, settings.SERVER_UNIT, self.settings.log_level)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in, or refuse it."""
        if len(self._connections) >= self._most_connections:
            self._refused[connection] = None
            self.event_log.error(connection, messages.SERVER_FULL)
            if len(self._refused) > self._most_refused:
                oldest = next(iter(self._refused))
                del self._refused[oldest]
                oldest.abort()  # no more time to read why: those who have it are as many as may be
            return False
        self._connections.add(connection)
        self.loop.call_soon(self.limit_backlog)  # not at once: its transport begins to read only after this
        self.event_log.connected(connection, len(self._connections))
        return True

    def forget(self, connection: Connection, producer: bytes) -> None:
        """Count a connection out."""
        self._not_reading.discard(connection)
        if self._clients.get(producer) is connection:
            del self._clients[producer]
        if connection not in self._connections:
            self._refused.pop(connection, None)
            return
        self._connections.discard(connection)
        self.event_log.disconnected(connection)

    def claim(self, producer: bytes, connection: Connection) -> None:
        """Make this the numbered client's connection; an older one is most likely half-open, and is cut."""
        older = self._clients.get(producer)
        self._clients[producer] = connection
        if older:
            self.event_log.error(older, "cut off, since the same client has connected anew")
            older.abort()

    def limit_backlog(self) -> None:
        """Read nothing more from anybody until the disk has caught up, if too much waits for it.

        All are held back at once: what a thousand connections may send before each has been heard is too much.
        """
        if self.wal.backlog > self.settings.max_backlog_bytes:
            for connection in self._connections - self._not_reading:
                connection.pause(BACKLOG)
            self._not_reading |= self._connections

    def _bound(self) -> None:
        most = self.settings.max_connections
        self._most_connections, self._most_refused = bounded(most, f"{settings.PREFIX}MAX_CONNECTIONS")

    def _connect(self) -> Connection:
        return Connection(self)

    def _committed(self, group: Group) -> None:
        self.subscriptions.publish(group)
        if self._not_reading and self.wal.backlog <= self.settings.max_backlog_bytes // 2:
            held, self._not_reading = self._not_reading, set()
            for connection in held:
                connection.resume(BACKLOG)

    def _disk_failed(self, error: Exception) -> None:
        text = f"{self.directory}: {error}; what the disk holds is unknown now, so nothing more is acknowledged"
        log.record("CRITICAL", "disk_failed", text, error=None if isinstance(error, OSError) else error)
        self._end(1)

    async def _sweep(self) -> None:
        while True:
            self.now = self.loop.time()
            for connection in [*self._connections, *self._refused]:
                connection.check()
            self.event_log.sensors(*self.watch.sweep(self.now), self.settings.stale_after)
            self.event_log.sweep(self.now)
            limits = self.settings
            shortest = min(limits.incomplete_timeout, limits.idle_timeout, limits.unread_timeout)
            await asyncio.sleep(min(0.25, shortest / 4))
