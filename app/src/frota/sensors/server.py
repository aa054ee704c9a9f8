"""The sensors' server: sockets, limits and log records around the pure parts."""

import asyncio
import resource
import socket
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from frota.core import log, systemd
from frota.logbook.logbook import Batch as Group
from frota.logbook.logbook import Logbook
from frota.logbook.store import Limits, NoRoom, Store
from frota.sensors import messages, settings
from frota.sensors.budget import Budget
from frota.sensors.connection import Connection
from frota.sensors.messages import Parts
from frota.sensors.peer import BACKLOG
from frota.sensors.readings import endpoint
from frota.sensors.rounds import Round
from frota.sensors.settings import ServerSettings
from frota.sensors.viewing import Follower
from frota.sensors.watch import Watch

_RECEIVE_BUFFER = 128 * 1024  # bytes of the kernel's per connection: what a thousand floods can make us hold at once
_RECORDS_PER_SECOND = 20  # of each kind that strangers can provoke
_REPORT_SECONDS = 10
_OTHER_DESCRIPTORS = 128  # that are no connections: the log's, its readers', the event loop's, and some to spare


class SensorServer:
    """The service behind `frota sensors serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ServerSettings, reread: Callable[[], ServerSettings], end: Callable[[int], None]
    ) -> None:
        self._reread, self._end = reread, end
        self.settings = config
        self.directory = config.directory
        self.pattern = messages.open_pattern(config.known_units)
        self.watch = Watch(config.ranges, config.stale_after)
        self.followers: set[Follower] = set()
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._held_back: set[Connection] = set()
        self._clients: dict[bytes, Connection] = {}
        self._viewers: set[asyncio.Task[None]] = set()
        rate = config.log_readings_per_second
        self._readings_log = Budget("readings_omitted", "readings", rate)
        self._connections_log = Budget("connections_omitted", "connections opened or closed", _RECORDS_PER_SECOND)
        self._errors_log = Budget("errors_omitted", "errors of connections", _RECORDS_PER_SECOND)
        self._ranges_log = Budget("out_of_range_omitted", "readings out of range", 1)
        self._sensors_log = Budget("sensors_omitted", "sensors fallen silent or back", _RECORDS_PER_SECOND)
        self._disk_log = Budget("not_stored_omitted", "answers that a reading is not stored", 1)
        self._budgets = (
            self._readings_log, self._connections_log, self._errors_log, self._ranges_log, self._sensors_log,
            self._disk_log,
        )  # fmt: skip

    async def start(self) -> str:
        """Open the log and listen."""
        self.loop = loop = asyncio.get_running_loop()
        self.now = loop.time()
        self.round = Round(self, self.pattern)
        self._most_refused = _allow_descriptors(self.settings.max_connections)
        keep = Limits(self.settings.segment_bytes, self.settings.keep_bytes, self.settings.keep_days * 86400)
        self.log = Logbook(Store(self.directory, keep), loop, self._disk_failed)
        self.log.on_commit = self._committed
        self.readers = ThreadPoolExecutor(2, "history")
        sockets = systemd.listening_sockets() or [_listen(self.settings)]
        for sock in sockets:
            _tune(sock)
        backlog = self.settings.backlog
        self._listeners = [await loop.create_server(self._connect, sock=sock, backlog=backlog) for sock in sockets]
        self._sweeper = loop.create_task(self._sweep_for_ever())
        address = endpoint(*sockets[0].getsockname()[:2])
        log.record("INFO", "starting", f"Servidor iniciando em {address}", ADDRESS=address)
        return f"listening on {address}"

    async def stop(self) -> None:
        """Accept nothing new, answer what was received, close."""
        self._sweeper.cancel()
        for listener in self._listeners:
            listener.close()
        for viewer in list(self._viewers):
            viewer.cancel()
        for connection in list(self._connections):
            connection.stop()
        await self.log.drain()
        for _ in range(50):  # until the answers have left; a peer that does not read them is not waited for
            if not self._connections:
                break
            await asyncio.sleep(0.02)
        for connection in [*self._connections, *self._refused]:
            connection.abort()
        await self.log.close()
        self.readers.shutdown(wait=False, cancel_futures=True)
        self._report()
        log.record("INFO", "stopped", "stopped; everything acknowledged is on disk")

    def healthy(self) -> bool:
        """Tell whether the disk keeps up."""
        return self.log.healthy()

    def reload(self) -> None:
        """Read the settings again and take those that may change live."""
        new = self._reread()
        self.settings = settings.take_live(self.settings, new)
        self._most_refused = _allow_descriptors(self.settings.max_connections)
        self.watch.configure(self.settings.ranges, self.settings.stale_after)
        self._readings_log.rate = self.settings.log_readings_per_second
        log.configure(settings.SYSTEM, settings.SERVER_UNIT, self.settings.log_level)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in, or refuse it."""
        if len(self._connections) >= self.settings.max_connections:
            self._refused.add(connection)
            self.note_error(connection, messages.SERVER_FULL)
            if len(self._refused) > self._most_refused:
                connection.abort()  # no more time to read why: those who have it are as many as may be
            return False
        self._connections.add(connection)
        self.loop.call_soon(self.limit_backlog)  # not at once: its transport begins to read only after this
        if self._connections_log.allow():
            log.record("INFO", "connected", f"Nova conexão de {connection.address}", PEER=endpoint(*connection.address))
            log.record("INFO", "connections", f"Conexões ativas: {len(self._connections)}")
        return True

    def forget(self, connection: Connection, writer: bytes) -> None:
        """Count a connection out."""
        self._held_back.discard(connection)
        if self._clients.get(writer) is connection:
            del self._clients[writer]
        if connection in self._refused:
            self._refused.discard(connection)
            return
        self._connections.discard(connection)
        if self._connections_log.allow():
            text = f"Conexão encerrada com {connection.address}"
            log.record("INFO", "disconnected", text, PEER=endpoint(*connection.address))

    def claim(self, writer: bytes, connection: Connection) -> None:
        """Make this the numbered client's connection; an older one is most likely half-open, and is cut."""
        older = self._clients.get(writer)
        self._clients[writer] = connection
        if older:
            self.note_error(older, "cut off, since the same client has connected anew")
            older.abort()

    def show(self, viewing: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Serve a viewer beside everything else. Raises ValueError when there are too many."""
        if len(self._viewers) >= self.settings.max_viewers:
            viewing.close()
            raise ValueError("leitores demais, tente mais tarde")
        task = asyncio.get_running_loop().create_task(viewing)
        self._viewers.add(task)
        task.add_done_callback(self._viewers.discard)
        return task

    def limit_backlog(self) -> None:
        """Read nothing more from anybody until the disk has caught up, if too much waits for it.

        All are held back at once: what a thousand connections may send before each has been heard is too much.
        """
        if self.log.backlog > self.settings.max_backlog_bytes:
            for connection in self._connections - self._held_back:
                connection.pause(BACKLOG)
            self._held_back |= self._connections

    def note_readings(self, connections: Sequence[Connection], found: list[Parts], outside: list[int]) -> None:
        """Log readings as far as the budget goes, and warn of those out of range."""
        for index in outside:
            if self._ranges_log.allow():
                self._log_reading("WARNING", "out_of_range", "Fora da faixa", connections[index], found[index])
        budget = self._readings_log
        if budget.left <= 0:
            budget.omitted += len(found)
            return
        for connection, parts in zip(connections, found, strict=True):
            if budget.allow():
                self._log_reading("INFO", "reading", "Recebido", connection, parts)

    def note_error(self, connection: Connection, reason: str, text: str = "") -> None:
        """Log what went wrong with one connection."""
        if self._errors_log.allow():
            shown = f" ({log.printable(text[:80])})" if text else ""
            message = f"Erro com {connection.address}: {reason}{shown}"
            log.record("WARNING", "bad_input", message, PEER=endpoint(*connection.address))

    def note_skipped(self, connection: Connection, count: int) -> None:
        """Log that a client had to drop readings."""
        message = f"{count} readings were dropped by the sensor's full spool"
        log.record("WARNING", "readings_skipped", message, PEER=endpoint(*connection.address), COUNT=count)

    def note_not_stored(self, connection: Connection, count: int, error: NoRoom) -> None:
        """Log that readings were refused for want of room."""
        if self._disk_log.allow():
            message = f"Erro com {connection.address}: {messages.DISK_FULL} ({self.directory}: {error})"
            log.record("ERROR", "not_stored", message, PEER=endpoint(*connection.address), COUNT=count)

    def _connect(self) -> Connection:
        return Connection(self)

    def _log_reading(self, level: str, event: str, verb: str, connection: Connection, parts: Parts) -> None:
        reading = messages.Reading(*parts)
        text = f"{verb} de {connection.address}: {reading}"
        log.record(level, event, text, PEER=endpoint(*connection.address), SENSOR=reading.sensor, KIND=reading.kind)

    def _committed(self, group: Group) -> None:
        for follower in self.followers:
            follower.offer(group)
        if self._held_back and self.log.backlog <= self.settings.max_backlog_bytes // 2:
            held, self._held_back = self._held_back, set()
            for connection in held:
                connection.resume(BACKLOG)

    def _disk_failed(self, error: Exception) -> None:
        text = f"{self.directory}: {error}; what the disk holds is unknown now, so nothing more is acknowledged"
        log.record("CRITICAL", "disk_failed", text, error=None if isinstance(error, OSError) else error)
        self._end(1)

    async def _sweep_for_ever(self) -> None:
        second = report = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self.now = loop.time()
            for connection in [*self._connections, *self._refused]:
                connection.check()
            self._sweep_sensors()
            if self.now >= second:
                second = self.now + 1
                for budget in self._budgets:
                    budget.refill()
            if self.now >= report:
                report = self.now + _REPORT_SECONDS
                self._report()
            limits = self.settings
            shortest = min(limits.incomplete_timeout, limits.idle_timeout, limits.unread_timeout)
            await asyncio.sleep(min(0.25, shortest / 4))

    def _sweep_sensors(self) -> None:
        stale, back = self.watch.sweep(self.now)
        for sensor in filter(self._may_log_sensor, stale):
            text = f"{sensor}: no reading for more than {self.settings.stale_after:g} s"
            log.record("WARNING", "sensor_stale", text, SENSOR=sensor)
        for sensor in filter(self._may_log_sensor, back):
            log.record("INFO", "sensor_back", f"{sensor}: readings again", SENSOR=sensor)

    def _may_log_sensor(self, _: str) -> bool:
        return self._sensors_log.allow()

    def _report(self) -> None:
        for budget in self._budgets:
            budget.report()


def _listen(config: ServerSettings) -> socket.socket:
    kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
    try:
        family, _, _, _, address = socket.getaddrinfo(config.host, config.port, type=kind, flags=passive)[0]
        sock = socket.create_server(address[:2], family=family, backlog=config.backlog)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{endpoint(config.host, config.port)}: {reason}") from error
    sock.setblocking(False)
    return sock


def _tune(sock: socket.socket) -> None:
    """Set, for all connections to come, how much the kernel buffers and when it gives a vanished peer up."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)


def _allow_descriptors(connections: int) -> int:
    """Raise the limit of descriptors as far as needed or possible; return how many refused connections may linger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _OTHER_DESCRIPTORS
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < connections + _OTHER_DESCRIPTORS:
        text = f"{soft} open files are allowed, too few for {connections} connections: raise the limit (LimitNOFILE=)"
        log.record("WARNING", "few_descriptors", text)
    return max(0, min(connections, soft - connections - _OTHER_DESCRIPTORS))
