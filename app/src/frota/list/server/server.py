"""The list's server: reads ZeroMQ sockets in rounds, on one event loop."""

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import zmq

from frota.core import commands
from frota.core.tasks import EssentialTasks, essential
from frota.list import messages, queries, settings
from frota.list.lists import Change, Limits
from frota.list.server import authentication, sockets
from frota.list.server.admission import Admission
from frota.list.server.change_log import ChangeLog, NoChangeLog
from frota.list.server.drain import Connections
from frota.list.server.engine import Engine
from frota.list.server.event_log import EventLog, RequestRecord
from frota.list.server.metrics import metrics
from frota.list.server.send_queue import ReplyTo, SendQueue
from frota.list.server.sockets import Socket
from frota.list.settings import ServerSettings
from frota.logs import log
from frota.net.addresses import plain
from frota.net.http import MonitoringServer, open_port
from frota.storage.wal.log import DiskFull

_MAX_ROUND_BYTES, _MAX_ROUND_S = 2 * 2**20, 0.005  # limits of one socket in one round
# Messages of one socket in one round: many share an fsync; without one, few, so that responses leave while the next
# messages are executed.
_MAX_DURABLE_MESSAGES, _MAX_VOLATILE_MESSAGES = 256, 4
# Graceful shutdown: how long no request must have arrived before all are answered, and the limit of waiting for that.
_DRAIN_QUIET_S, _MAX_DRAIN_S = 0.15, 0.6
_FLUSH_TIMEOUT_S = 1.0  # then, for clients to read the responses in the send queue
_SWITCH_INTERVAL_S = 0.0005  # how long a sorting thread may keep the interpreter lock


class ListServer:
    """The service behind `frota list serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ServerSettings, reread: Callable[[], ServerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self._secret = authentication.secret_key(config)
        self._event_log = EventLog(config.log_requests_per_second)
        self._allowed = authentication.AllowList(config.clients, self._event_log)
        self._max_messages = _MAX_DURABLE_MESSAGES if config.durable else _MAX_VOLATILE_MESSAGES
        self._scheduled = self._stopping = False
        self._tasks = EssentialTasks(end)
        self._thread_tasks: set[asyncio.Task[None]] = set()
        self._requests_total = 0

    async def start(self) -> str:
        """Recover the lists, then listen."""
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._loop = asyncio.get_running_loop()
        self._send_queue = SendQueue(self._event_log, self._schedule)
        self._executor = ThreadPoolExecutor(1, "slow")
        config = self.settings
        limits = Limits(config.max_lists, config.max_elements, config.max_bytes, config.max_element_bytes)
        change_log = ChangeLog(config.directory, config.snapshot_bytes) if config.durable else NoChangeLog()
        self._engine = Engine(limits, config.cached_clients, change_log, self)
        self._context: zmq.Context[Socket] = zmq.Context()
        if self._secret:
            self._authenticator = authentication.start(self._context, self._allowed)
        self._sockets = sockets.open_all(self._context, config, self._guard)
        monitoring_sockets = open_port(config.metrics_host, config.metrics_port)  # before what counts open files
        self._admission = Admission(self._sockets.listening, config.max_connections, config.backlog, self._event_log)
        self._addresses = self._sockets.addresses
        own = metrics(self._engine, self._admission, self._send_queue, self._event_log, lambda: self._requests_total)
        self._monitoring = MonitoringServer(own, self.healthy)
        await self._monitoring.serve(monitoring_sockets)
        self._sockets.bind()
        self._engine.info = {"watch_port": self._sockets.watch_port, "security": "curve" if self._secret else "clear"}
        for socket in self._sockets.requests:
            self._loop.add_reader(sockets.descriptor(socket), self._run_rounds)
        self._tasks.start(self._sweep())
        self._schedule()  # messages may have arrived before the reader was added
        return self._log_start()

    async def stop(self) -> None:
        """Answer all requests, then close.

        A client that waits for its response sends nothing more until it has it. So no response is sent until all
        clients that are about to send have sent. Then all are answered at once, each response together with the end of
        its connection: no request is lost in a connection that is not read any more.
        """
        await self._tasks.cancel()
        await self._monitoring.stop()
        self._stopping = True
        for socket in self._sockets.requests:
            self._loop.remove_reader(sockets.descriptor(socket))
        await self._receive_last_requests()
        self._admission.lift_limit()
        connections = Connections({int(address.rpartition(":")[2]) for address in self._addresses})
        connections.cork()
        while self._run_round() or self._thread_tasks:
            await asyncio.gather(*self._thread_tasks, return_exceptions=True)
        await self._send_queue.close(_FLUSH_TIMEOUT_S)
        if self._secret:
            self._authenticator.stop()
        for socket in self._sockets.all:
            socket.close()
        await self._loop.run_in_executor(None, self._context.term)  # returns when the responses are written
        self._admission.close()
        connections.end()
        self._engine.change_log.close()
        self._event_log.report()
        on_disk = self.settings.durable and not self._engine.failed
        log.record("INFO", "stopped", "stopped; everything answered is on disk" if on_disk else "stopped")

    def healthy(self) -> bool:
        """Tell whether the limits are enforced; a blocked event loop could not call this at all."""
        return self._tasks.alive()

    def reload(self) -> None:
        """Read the settings again and apply the live ones."""
        self.settings = commands.take_live(self.settings, self._reread(), settings.PREFIX)
        self._allowed.replace(self.settings.clients)
        self._event_log.configure(self.settings.log_requests_per_second)
        log.configure(settings.SYSTEM, settings.SERVER_UNIT, self.settings.log_level)

    def send(self, reply_to: ReplyTo, response: bytes) -> None:
        """Send a response."""
        self._send_queue.send(reply_to, response)

    def admits_large(self, reply_to: ReplyTo) -> bool:
        """Tell whether a large response to a client may be made now."""
        return self._send_queue.admits_large(reply_to)

    def publish(self, change: Change) -> None:
        """Publish a change."""
        content = messages.encode_json(queries.change_fields(change))
        self._sockets.changes.send_multipart([f"{change.list}\0".encode(), content], zmq.NOBLOCK)

    def disk_full(self, error: DiskFull) -> None:
        """Log that changes were rejected."""
        self._event_log.disk_full(error)

    def internal_error(self, error: Exception) -> None:
        """Log that a request failed."""
        self._event_log.internal_error(error)

    def run_in_thread(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run slow work in the worker thread."""

        async def run() -> None:
            done(await self._loop.run_in_executor(self._executor, work))
            self._schedule()

        task = essential(run(), self._end)
        self._thread_tasks.add(task)
        task.add_done_callback(self._thread_tasks.discard)

    def _guard(self, socket: Socket) -> None:
        if self._secret:
            authentication.guard(socket, self._secret)

    def _log_start(self) -> str:
        for address in self._addresses:
            log.record("INFO", "starting", f"Servidor ZeroMQ iniciado em {address}", ADDRESS=address)
        if not self._secret:
            log.record("WARNING", "clear_text_served", "no key: traffic is neither authenticated nor encrypted")
        elif not self.settings.clients:
            log.record("WARNING", "allow_list_empty", f"{settings.PREFIX}CLIENTS is empty: no client can connect")
        lists = self._engine.lists
        text = f"{len(lists.by_name)} lists with {lists.elements} elements, {self._engine.recovered} changes replayed"
        log.record("INFO", "state_recovered", text, LISTS=len(lists.by_name), ELEMENTS=lists.elements)
        return f"listening on {', '.join(self._addresses)}"

    def _schedule(self) -> None:
        if not self._scheduled and not self._stopping:
            self._scheduled = True
            self._loop.call_soon(self._run_rounds)

    def _run_rounds(self) -> None:
        """Run rounds while there is more, and let other tasks of the event loop run in between.

        The descriptor of a ZeroMQ socket only signals changes of state, and sending consumes the signal too: without a
        check of the events after every round, a message would wait for the next one.
        """
        self._scheduled = False
        end = time.monotonic() + _MAX_ROUND_S
        while not self._stopping and self._run_round():
            if time.monotonic() > end:
                self._schedule()
                return

    def _run_round(self) -> bool:
        """Execute the requests that have arrived, respond, and tell whether there are more."""
        if self._engine.failed:
            return False
        try:
            end = time.monotonic() + _MAX_ROUND_S  # bounds what one client's requests cost the others
            more = self._engine.resume_waiting(lambda: time.monotonic() < end)
            for socket in self._sockets.requests:
                self._receive(socket)
            self._engine.finish_round()
        except OSError as error:
            log.record("CRITICAL", "disk_failed", f"cannot write the change log, no client gets a response: {error}")
        except Exception as error:  # noqa: BLE001 -- asyncio would log it and go on
            log.record("CRITICAL", "internal_error", "unexpected error while processing requests", error=error)
        else:
            return more or any(map(sockets.has_message, self._sockets.requests))
        self._engine.failed = True
        self._end(1)
        return False

    async def _receive_last_requests(self) -> None:
        """Execute requests, without responses, until none arrives any more."""
        deadline = self._loop.time() + _MAX_DRAIN_S
        quiet = self._loop.time() + _DRAIN_QUIET_S
        while (now := self._loop.time()) < min(quiet, deadline) and not self._engine.failed:
            if sum(map(self._receive, self._sockets.requests)):
                quiet = now + _DRAIN_QUIET_S
            await asyncio.sleep(0.01)

    def _receive(self, socket: Socket) -> int:
        """Execute the messages that have arrived, within the limits of a round; return their number."""
        count = size = 0
        end = time.monotonic() + _MAX_ROUND_S
        with suppress(zmq.Again):
            while count < self._max_messages and size < _MAX_ROUND_BYTES and time.monotonic() < end:
                if self._event_log.logs_requests():
                    size += self._receive_and_log(socket)
                else:
                    envelope, body = messages.split_envelope(sockets.receive(socket))
                    self._engine.handle(body, (socket, envelope, None))
                    size += len(body[0]) if body else 0
                    self._event_log.suppress_requests(1)
                count += 1
        self._requests_total += count
        return count

    def _receive_and_log(self, socket: Socket) -> int:
        """Execute one message and log it with its sender; return its size in bytes."""
        frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
        client = ""
        if self._secret and socket is self._sockets.requests[0]:  # on the clear port a client could claim any name
            client = self._allowed.names.get(sockets.metadata(frames[-1], "User-Id").encode(), "")
        logged = RequestRecord(plain(sockets.metadata(frames[-1], "Peer-Address")), client)
        envelope, body = messages.split_envelope([frame.bytes for frame in frames])
        self._event_log.request(logged, self._engine.handle(body, (socket, envelope, logged)), body)
        return sum(map(len, body))

    async def _sweep(self) -> None:
        while True:
            self._event_log.sweep()
            self._admission.sweep()
            await asyncio.sleep(0.2)
