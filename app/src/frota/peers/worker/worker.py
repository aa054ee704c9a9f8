"""The native worker: it stays at its own server, at a borrower, or at a failover server, and executes tasks there."""

import asyncio
from collections.abc import Callable
from typing import IO

from frota.core.backoff import Backoff
from frota.core.tasks import EssentialTasks
from frota.logs import log
from frota.logs.log import printable
from frota.net.exposition import Metric, counter, gauge
from frota.net.http import MonitoringServer
from frota.peers import outgoing, settings
from frota.peers.execution import Accounts
from frota.peers.identity import identity
from frota.peers.lending.itinerary import Itinerary, Outcome, Role
from frota.peers.outgoing import Outgoing
from frota.peers.protocol.calling_sides import WorkerSide
from frota.peers.protocol.framing import MAX_MESSAGE_BYTES
from frota.peers.protocol.messages import Report, Task
from frota.peers.security import Security
from frota.peers.settings import WorkerSettings, join_address, parse_address
from frota.peers.worker.execution_queue import ExecutionQueue
from frota.peers.worker.session import Session
from frota.storage import state_folder

_FIRST_PAUSE_S = 0.2
_FINISH_S = 3.5  # for tasks that have begun, at the end


class PeerWorker:
    """The service behind `frota peers work`."""

    def __init__(self, config: WorkerSettings, accounts: Accounts | None, end: Callable[[int], None]) -> None:
        self._config = config
        self._folder = config.state_dir or state_folder.default_directory(settings.WORKER_UNIT)
        self._tasks, self._stopping = EssentialTasks(end), False
        self._accounts = accounts
        self._session: Session | None = None
        self._connection: Outgoing | None = None
        self._backoff = Backoff(_FIRST_PAUSE_S, config.max_backoff_s)
        self._home_name = ""  # of its own server, once that has said it
        self._lock: IO[str] | None = None
        self.connected_total = self.connect_errors_total = self.redirects_ignored_total = 0

    async def start(self) -> str:
        """Begin to work. Raises StateError, SettingsError."""
        config = self._config
        self._security = Security(config, config.host, "work")
        if not config.name:
            self._lock = state_folder.lock(self._folder)  # of two workers with one id, each would replace the other
        self.id = config.name or identity(self._folder, "worker")
        self._queue = ExecutionQueue(self.id, self._accounts, self._executed)
        failover = [join_address(address) for address in config.failover]
        self._itinerary = Itinerary(join_address(config.home), failover, config.itinerary_policy)
        self._monitoring = MonitoringServer(self._metrics(), self._tasks.alive)
        await self._monitoring.start(config.metrics_host, config.metrics_port)
        self._tasks.start(self._run())
        log.record("INFO", "starting", f"worker {self.id} works for {self._itinerary.home}", WORKER=self.id)
        return f"working for {self._itinerary.home}"

    async def stop(self) -> None:
        """Hand back what has not begun, finish the rest, leave."""
        self._stopping = True
        if self._session:
            self._session.leave(self._queue.give_back())
        try:
            async with asyncio.timeout(_FINISH_S):
                await self._queue.finish()
        except TimeoutError:
            log.record("WARNING", "stop_timeout", "tasks are not finished: the server gives them to another worker")
        await self._tasks.cancel()
        if self._connection:
            self._connection.close()
        await self._monitoring.stop()
        self._queue.close()
        if self._lock:
            self._lock.close()
        log.record("INFO", "stopped", "stopped; tasks without a report are given to other workers", WORKER=self.id)

    def healthy(self) -> bool:
        """Tell whether the worker tries to work."""
        return self._tasks.alive()

    def reload(self) -> None:
        """Read the certificates again, for the next connections. Raises SettingsError."""
        self._security.load()

    async def _run(self) -> None:
        """Connect, stay and go on; pause after a failure, which a connection that is lost at once is, too."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            connected = await self._connect()
            began = loop.time()
            if connected and not await self._stay():
                self._backoff.reset()
                continue
            if not connected:
                self._itinerary.departed(Outcome.UNREACHABLE)
            elif loop.time() - began > self._config.max_backoff_s:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.pause())

    async def _connect(self) -> bool:
        """Connect to the server that the itinerary names, and say ALIVE."""
        config, address = self._config, parse_address(self._itinerary.server)
        by_websocket = config.transport == "websocket"
        configured = address in (config.home, *config.failover)
        trusted = configured or self._security.mtls
        session = Session(self.id, config.capacity, self._itinerary, self._add, trusted=trusted)
        try:
            self._connection = await outgoing.connect(
                address,
                WorkerSide(websocket=by_websocket),
                session.received,
                session.ended,
                timeout_s=config.connect_timeout_s,
                max_bytes=MAX_MESSAGE_BYTES if by_websocket else 0,
                context=self._security.client,
            )
        except OSError as error:
            self.connect_errors_total += 1
            text = f"no server at {self._itinerary.server}: {printable(str(error))}"
            log.record("WARNING", "connect_failed", text, PEER=self._itinerary.server)
            return False
        self.connected_total += 1
        self._session = session
        role = self._itinerary.role
        log.record(
            "INFO", "connected", f"works for {self._itinerary.server}, {role.value}", PEER=self._itinerary.server
        )
        session.begin(self._connection, "" if role is Role.HOME else self._home_name or self._itinerary.home)
        return True

    async def _stay(self) -> bool:
        """Stay until the itinerary, or the end of the connection, leads elsewhere; return whether it was lost."""
        session, loop = self._session, asyncio.get_running_loop()
        if session is None:
            return False
        alive_at = loop.time() + self._config.alive_every_s
        while not session.redirected and not (outcome := session.outcome()):
            now = loop.time()
            if now >= alive_at:
                alive_at = now + self._config.alive_every_s
                session.renew()
            await _wait(session.woken, min(alive_at, self._itinerary.deadline(now)) - now)
            if self._itinerary.role is Role.HOME and session.server:
                self._home_name = session.server
        self._depart(session, None if session.redirected else outcome)
        return bool(session.lost)

    def _depart(self, session: Session, outcome: Outcome | None) -> None:
        if session.lost:
            log.record(
                "WARNING", "disconnected", f"disconnected: {printable(session.lost)}", PEER=self._itinerary.server
            )
        if self._connection:
            self._connection.close()
        self.redirects_ignored_total += session.ignored_redirects
        self._session = self._connection = None
        self._queue.give_back()
        if outcome:
            self._itinerary.departed(outcome)

    def _add(self, tasks: tuple[Task, ...]) -> None:
        self._queue.add(tasks)

    def _executed(self, reports: list[Report]) -> None:
        if self._session:
            self._session.report(reports)

    def _metrics(self) -> list[Metric]:
        queue = self._queue
        return [
            counter("frota_peers_tasks_executed_total", "Executed tasks.", lambda: queue.executed_total),
            counter("frota_peers_tasks_failed_total", "Tasks that failed.", lambda: queue.failed_total),
            counter("frota_peers_connects_total", "Connections to servers.", lambda: self.connected_total),
            counter("frota_peers_connect_errors_total", "Failed ones.", lambda: self.connect_errors_total),
            counter(
                "frota_peers_redirects_ignored_total",
                "Redirects of servers that may not redirect the worker.",
                lambda: self.redirects_ignored_total + (self._session.ignored_redirects if self._session else 0),
            ),
            gauge("frota_peers_connected", "1 while there is a server.", lambda: float(self._session is not None)),
        ]


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, and clear it."""
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
