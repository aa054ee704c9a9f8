"""The peers' server: starts, sweeps, reloads and stops the parts that a task passes.

They are, in this order: `connections.py`, `client_requests.py`, `results.py`, `storage`,
`hand_out.py`, `connections.py` to the worker and back, `workers.py`, and `results.py` again.
"""

import asyncio
import socket
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import IO, Any

from frota.core import commands
from frota.core.tasks import EssentialTasks
from frota.logs import log
from frota.net.buffer_limit import BufferLimit
from frota.net.http import MonitoringServer
from frota.net.listen import sockets_of_ports
from frota.net.tcp_server import Limits, TcpConnection, TcpServer, connection_limits
from frota.net.tls_connection import TlsListener
from frota.peers import settings
from frota.peers.identity import identity
from frota.peers.lending.engine import Lending
from frota.peers.lending.liveness import Liveness
from frota.peers.lending.saturation import Saturation
from frota.peers.peer_directory import PeerDirectory
from frota.peers.protocol.messages import Address
from frota.peers.security import Security
from frota.peers.server import status
from frota.peers.server.client_requests import ClientRequests
from frota.peers.server.connections import Connection, Services
from frota.peers.server.event_log import EventLog
from frota.peers.server.lending_driver import LendingDriver
from frota.peers.server.peer_links import PeerLink
from frota.peers.server.results import Results
from frota.peers.server.storage.group_commit import GroupCommit
from frota.peers.server.storage.memory import MemoryStore
from frota.peers.server.storage.store import Store
from frota.peers.server.workers import Workers
from frota.peers.settings import ServerSettings
from frota.peers.tasks import Tasks
from frota.storage import state_folder

_MIN_ANSWER_BYTES_PER_S = 1024.0  # a caller that reads its answers more slowly is disconnected
_SWEEP_S = 0.25
_CLEAR_TEXT_ANSWER = b'{"STATUS": "NOK", "ERROR": "this port requires TLS 1.3 and a certificate of the fleet"}\n'
_REJECTION = b'{"STATUS": "NOK", "ERROR": "too many connections, try again later"}\n'


class PeerServer:
    """The service behind `frota peers serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ServerSettings, reread: Callable[[], ServerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self._tasks = EssentialTasks(end)
        self.event_log = EventLog(config.log_tasks_per_second)
        self._lock: IO[str] | None = None

    async def start(self) -> str:
        """Load the tasks and listen. Raises OSError and StateError."""
        config = self.settings
        self._security = Security(config, config.host, "listen")
        self.tls = TlsListener(self._security.server, _CLEAR_TEXT_ANSWER) if self._security.server else None
        self._name = config.name or (identity(config.directory, "server") if config.durable else str(uuid.uuid4()))
        store = self._store()
        self._build(store)
        for page in store.load_waiting():
            self.results.restore(page)
        addresses = await self._listen()
        self._monitoring = MonitoringServer(status.metrics(self.parts), self._tasks.alive)
        await self._monitoring.start(config.metrics_host, config.metrics_port)
        self._tasks.start(self._sweep(), self._tick(), *self._housekeeping(store))
        self._log_start(addresses)
        return f"listening on {', '.join(addresses)}"

    async def _listen(self) -> list[str]:
        """Listen on the native port and on that for legacy programs; return the addresses. Raises OSError."""
        config, driver = self.settings, self.lending_driver
        ports = [config.port, config.clear_port] if config.clear_port else [config.port]
        native, *clear = sockets_of_ports(config.host, ports, config.backlog)
        addresses = await self.tcp.listen(native, config.backlog, self.tls or TcpConnection)
        driver.address = config.advertise or _advertised(config.host, addresses[0])
        for sockets in clear:
            addresses += await self.tcp.listen(sockets, config.backlog)
            driver.clear_address = Address(driver.address.host, config.clear_port)
        return addresses

    async def stop(self) -> None:
        """Accept nothing new, make durable what was reported, answer, close."""
        await self._tasks.cancel()
        await self._monitoring.stop()
        self.tcp.stop_accepting()
        await self._requests.stop()
        await self.commit.drain()
        for link in self._links.values():
            link.close()
        self.tcp.drain()
        await self.tcp.close()
        await self.commit.drain()
        self.commit.close()
        if self._lock:
            self._lock.close()
        self.event_log.report()
        log.record("INFO", "stopped", "stopped; every accepted task is in the store")

    def healthy(self) -> bool:
        """Tell whether the essential tasks run."""
        return self._tasks.alive()

    def reload(self) -> None:
        """Read the settings and certificates again and apply what may change live. Raises SettingsError."""
        reread = self._reread()
        self._security.load()
        if self.tls and self._security.server:
            self.tls.context = self._security.server
        self.settings = config = commands.take_live(self.settings, reread, settings.PREFIX)
        self._services.settings = config
        self._requests.max_wait_s = config.max_wait_s
        self.buffers.max_bytes = config.max_buffered_bytes
        self.tcp.configure(self._limits())
        self.event_log.configure(config.log_tasks_per_second)
        log.configure(settings.SYSTEM, settings.SERVER_UNIT, config.log_level)

    def _store(self) -> Store:
        config = self.settings
        if not config.durable:
            return MemoryStore(config.max_results)
        self._lock = state_folder.lock(config.directory)
        from frota.peers.database.setup import open_ready  # here: memory mode does without SQLAlchemy
        from frota.peers.server.storage.durable import DatabaseStore

        return DatabaseStore(open_ready(config, config.directory), self._name)

    def _build(self, store: Store) -> None:
        config = self.settings
        self.tasks = Tasks(config.task_policy)
        saturation = Saturation(config.saturation_policy)
        self.lending = Lending(self._name, time.time_ns() // 1000, saturation, config.loan_policy)
        directory = PeerDirectory(config.peers)
        links = [
            PeerLink(peer, self._security, config.request_timeout_s, config.max_message_bytes) for peer in config.peers
        ]
        self._links = {link.key: link for link in links}
        self.lending_driver = LendingDriver(
            self.lending, Liveness(config.liveness_policy), directory, self._links,
            lambda: status.load(self.tasks, self.lending),
        )  # fmt: skip
        self.results = Results(self.tasks, self.event_log, self._queued)
        self.commit = self.results.commit = GroupCommit(store, self.results.finished, self._end)
        self.workers = Workers(self.tasks, self.lending, self.results, self.event_log, self.lending_driver.perform)
        self.workers.owner_of = directory.owner
        self.lending_driver.workers = self.workers
        self._requests = ClientRequests(self.results, self._status, config.max_wait_s)
        self.workers.mtls = self.lending_driver.mtls = mtls = self._security.mtls
        self.buffers = BufferLimit(config.max_buffered_bytes)
        self._services = Services(
            config, mtls, self.workers, self.buffers, self.event_log, self._requests, self.lending_driver.message
        )
        self.tcp = TcpServer(self._limits(), self.event_log, _REJECTION, self._handler)
        self.parts = status.Parts(
            self.tcp,
            self.tls,
            self.buffers,
            self.tasks,
            self.workers,
            self.lending,
            self.commit,
            self.event_log,
            self._peers,
        )

    def _housekeeping(self, store: Store) -> list[Coroutine[None, None, None]]:
        if not store.durable:
            return []
        from frota.peers.server.storage.durable import DatabaseStore
        from frota.peers.server.storage.housekeeping import Housekeeping

        assert isinstance(store, DatabaseStore)  # noqa: S101 -- the only durable one
        return [Housekeeping(store, self.results, self.event_log, lambda: self.settings).run()]

    def _queued(self) -> None:
        self.workers.hand_out.schedule()

    def _handler(self, connection: TcpConnection) -> Connection:
        return Connection(self._services, connection)

    def _limits(self) -> Limits:
        config = self.settings
        accepted, rejected = connection_limits(config.max_connections, f"{settings.PREFIX}MAX_CONNECTIONS")
        return Limits(
            accepted,
            rejected,
            first_message_timeout_s=config.first_message_timeout_s,
            unread_timeout_s=config.unread_timeout_s,
            min_bytes_per_s=_MIN_ANSWER_BYTES_PER_S,
        )

    def _status(self) -> Any:
        return status.status(self.parts, settings.join_address(self.lending_driver.address))

    def _peers(self) -> list[dict[str, Any]]:
        driver, loans = self.lending_driver, status.loans_by_peer(self.lending)
        return [
            {
                "address": key,
                "server": (name := driver.directory.name(key)),
                "up": driver.liveness.is_up(key),
                "dialect": link.dialect.value,
                "error": link.error,
                **loans(name),
            }
            for key, link in self._links.items()
        ]

    def _log_start(self, addresses: list[str]) -> None:
        for address in addresses:
            text = f"server {self.lending.server} listens on {address}"
            log.record("INFO", "starting", text, ADDRESS=address)
        if not self._security.mtls:
            log.record("WARNING", "clear_text_served", "no certificate: every caller is served, in clear text")
        if not self.commit.store.durable:
            text = "MEMORY MODE (--durable no): every task, result and balance is lost when this process ends"
            log.record("WARNING", "not_durable", text)

    async def _tick(self) -> None:
        while True:
            self.lending_driver.tick(self.tasks.waiting)
            await asyncio.sleep(self.settings.tick_s)

    async def _sweep(self) -> None:
        swept_at = 0.0
        while True:
            self.tcp.sweep()
            now = self.tcp.clock.now
            self.event_log.sweep(now)
            if now - swept_at >= min(1.0, self.settings.lease_s / 4):
                swept_at = now
                self.workers.sweep()
                self.workers.forget_silent(self.settings.poll_timeout_s)
            await asyncio.sleep(_SWEEP_S)


def _advertised(host: str, listening: str) -> Address:
    """Return where others reach this server, if it listens at one address; else at this host's name."""
    port = settings.parse_address(listening).port
    return Address(socket.gethostname() if host in ("::", "0.0.0.0") else host, port)  # noqa: S104 -- compared
