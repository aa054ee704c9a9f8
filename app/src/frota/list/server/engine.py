"""Executes requests in rounds: what has arrived is executed, written by one commit, and then answered.

So all requests that arrive during an fsync share the next one (group commit), every response tells only of what is on
disk, and the change log has the order of execution. Slow work is done in a thread, on a copy, while rounds go on.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from frota.core.errors import RequestRejected
from frota.list import messages, queries, sorting
from frota.list.changes import ExecutedRequest, cache_response, encode_response, execute, roll_back
from frota.list.lists import THRESHOLDS, Change, Limits, List, Lists, Thresholds
from frota.list.messages import CHANGES, Request
from frota.list.response_cache import ResponseCache
from frota.list.server.change_log import ChangeLog, NoChangeLog, encode_change, replay_cost
from frota.net.exposition import CounterBy
from frota.storage.wal.log import DiskFull

_MAX_WAITING_REQUESTS = 1000  # changes of one list that wait for its sort

_INTERNAL = "Erro interno do servidor; nada foi alterado."
_DISK_FULL = "Erro: o servidor não tem espaço em disco; nada foi alterado."


class EngineCallbacks(Protocol):
    """What the engine needs of its server."""

    def send(self, reply_to: Any, response: bytes) -> None:
        """Send a response to the sender of a request."""

    def admits_large(self, reply_to: Any) -> bool:
        """Tell whether a large response to this client may be made now."""

    def publish(self, change: Change) -> None:
        """Publish a change, which is on disk."""

    def disk_full(self, error: DiskFull) -> None:
        """Log that changes were rejected because the disk is full."""

    def internal_error(self, error: Exception) -> None:
        """Log that a request failed through a defect of the server; it changed nothing."""

    def run_in_thread(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run the work in the one worker thread, then call `done` with its result on the event loop."""


class PendingRequest(NamedTuple):
    """A request without a response yet, and where the response goes."""

    request: Request
    reply_to: Any


class Engine:
    """Executes the requests of all clients on the lists, recovered from the change log. Raises StateError."""

    def __init__(
        self,
        limits: Limits,
        max_clients: int,
        change_log: ChangeLog | NoChangeLog,
        callbacks: EngineCallbacks,
        thresholds: Thresholds = THRESHOLDS,
    ) -> None:
        self.lists, self.cache = Lists(limits, thresholds), ResponseCache(max_clients)
        self.change_log, self._callbacks = change_log, callbacks
        self.info: dict[str, Any] = {}
        self.recovered = change_log.recover(self.lists, self.cache)
        self.has_subscribers = False  # a client has requested the port of publication
        self.changes_total = self.cached_responses_total = 0
        self.rejections = CounterBy()  # by their code
        self.commits_total, self.commit_seconds_total = 0, 0.0
        self.failed = False  # the state of the disk is unknown: nothing is executed or answered any more
        self._responses: list[tuple[PendingRequest, bytes]] = []
        self._executed: list[ExecutedRequest] = []
        self._records: list[bytes] = []
        self._replay_bytes = 0
        self._deferred: list[PendingRequest] = []  # slow requests, which start after the commit
        self._waiting: dict[str, deque[PendingRequest]] = {}  # changes of a list that wait for its sort
        self._resumable: deque[str] = deque()  # lists whose waiting changes may go on, in turn
        self._deferred_bytes = self._round_bytes = 0  # large responses: being made in the thread, and in this round

    def handle(self, body: list[bytes], reply_to: Any) -> Request:
        """Execute one message; `finish_round`, or a later one, sends the response. Returns the parsed request."""
        try:
            request = messages.parse(body, self.lists.limits.element_bytes)
        except RequestRejected as error:
            request = messages.identify_malformed(body)
            self._reject(PendingRequest(request, reply_to), error)
            return request
        except Exception as error:  # noqa: BLE001 -- nothing was changed yet: one message must not harm other clients
            request = messages.identify_malformed(body)
            self._reject(PendingRequest(request, reply_to), self._internal_error(error))
            return request
        self._execute(PendingRequest(request, reply_to))
        return request

    def _internal_error(self, error: Exception) -> RequestRejected:
        self._callbacks.internal_error(error)
        return RequestRejected("internal", _INTERNAL)

    def resume_waiting(self, in_time: Callable[[], bool]) -> bool:
        """Execute, while `in_time()`, changes that waited for a sort; tell whether more are ready."""
        while self._resumable and in_time():
            name = self._resumable[0]
            waiting = self._waiting[name]
            if waiting and not self.lists.get(name).sorting:
                self._apply_or_reject(waiting.popleft())
                continue
            self._resumable.popleft()
            if not self.lists.get(name).sorting:
                del self._waiting[name]
        return bool(self._resumable)

    def finish_round(self) -> None:
        """Commit what was executed, then respond. Raises OSError if the state of the disk is unknown."""
        responses, executed = self._responses, self._executed
        self._responses, self._executed = [], []
        if self._records:
            try:
                self._commit()
            except DiskFull as error:
                self._callbacks.disk_full(error)
                responses, executed = self._roll_back(executed, responses), []
        self._round_bytes = 0
        self.cache.evict()
        for pending, response in responses:
            self._callbacks.send(pending.reply_to, response)
        changes = [request.applied.change for request in executed if request.applied]
        self.changes_total += len(changes)
        for change in changes if self.has_subscribers else ():
            self._callbacks.publish(change)
        deferred, self._deferred = self._deferred, []
        for pending in deferred:
            self._start_in_thread(pending)
        while self.lists.discarded:
            self._callbacks.run_in_thread(partial(_discard, self.lists.discarded.pop()), lambda _: None)
        self.change_log.snapshot_if_due(self.lists, self.cache)

    def _commit(self) -> None:
        records, replay_bytes = self._records, self._replay_bytes
        self._records, self._replay_bytes = [], 0
        began = time.perf_counter()
        try:
            self.change_log.commit(records, replay_bytes)
        except OSError:
            self.failed = True
            raise
        self.commits_total += 1
        self.commit_seconds_total += time.perf_counter() - began

    def _execute(self, pending: PendingRequest) -> None:
        try:
            if pending.request.op not in CHANGES:
                self._read(pending)
            elif pending.request.list in self._waiting:
                self._queue(pending)
            else:
                self._apply(pending)
        except RequestRejected as error:
            self._reject(pending, error)

    def _read(self, pending: PendingRequest) -> None:
        request, list_ = pending.request, self.lists.get(pending.request.list)
        thresholds = self.lists.thresholds
        self.has_subscribers = self.has_subscribers or request.op == "info"
        size = queries.large_response_bytes(request, list_, thresholds)
        if size:
            in_flight = self._deferred_bytes + self._round_bytes
            too_large = in_flight and in_flight + size > thresholds.max_large_bytes
            if too_large or not self._callbacks.admits_large(pending.reply_to):
                raise RequestRejected("busy", "Servidor ocupado: muitas respostas longas ao mesmo tempo.")
            if queries.is_slow(request, list_, thresholds):
                self._deferred_bytes += size
                self._deferred.append(pending)
                return
            self._round_bytes += size
        try:
            response = queries.respond(request, self.lists, self.info)
        except RequestRejected:
            raise
        except Exception as error:  # noqa: BLE001 -- it changes nothing: one request must not harm other clients
            raise self._internal_error(error) from None
        self._responses.append((pending, response))

    def _queue(self, pending: PendingRequest) -> None:
        waiting = self._waiting[pending.request.list]
        if len(waiting) >= _MAX_WAITING_REQUESTS:
            raise RequestRejected("busy", "Servidor ocupado: a lista está sendo ordenada.")
        waiting.append(pending)

    def _apply(self, pending: PendingRequest, elements: list[str] | None = None) -> None:
        request = pending.request
        cached = self.cache.find(request) if request.client else None
        if cached is not None:
            self.cached_responses_total += 1
            self._responses.append((pending, cached))
            return
        list_ = self.lists.get(request.list)
        if request.op == "sort" and elements is None and len(list_.elements) > self.lists.thresholds.slow_elements:
            list_.sorting = True
            self._waiting.setdefault(list_.name, deque())
            self._deferred.append(pending)
            return
        now = time.time_ns() // 1000
        try:
            executed = execute(request, now, self.lists, self.cache, elements)
        except RequestRejected as error:
            if not request.client:
                raise
            self.rejections.count(error.code)
            executed = cache_response(request, None, queries.rejection_of(list_, error), self.cache)
        self._executed.append(executed)
        self._responses.append((pending, executed.response))
        if self.change_log.durable:
            self._records.append(encode_change(executed, now))
            self._replay_bytes += replay_cost(executed)

    def _apply_or_reject(self, pending: PendingRequest, elements: list[str] | None = None) -> None:
        try:
            self._apply(pending, elements)
        except RequestRejected as error:
            self._reject(pending, error)

    def _start_in_thread(self, pending: PendingRequest) -> None:
        """Do slow work in a thread, on a copy of the list."""
        request, list_ = pending.request, self.lists.get(pending.request.list)
        copy = List(list_.name, list_.elements.copy(), list_.size, list_.version)
        size = queries.large_response_bytes(request, copy, self.lists.thresholds)
        if request.op == "sort":
            self._callbacks.run_in_thread(
                lambda: sorting.sort_in_chunks(copy.elements, request.by, request.descending),
                lambda result: self._finish_sort(pending, list_, result),
            )
        else:
            self._callbacks.run_in_thread(
                lambda: b"".join(queries.show_chunks(request, copy)),
                lambda result: self._finish_show(pending, size, result),
            )

    def _finish_show(self, pending: PendingRequest, size: int, result: bytes) -> None:
        self._deferred_bytes -= size
        self._callbacks.send(pending.reply_to, result)

    def _finish_sort(self, pending: PendingRequest, list_: List, elements: list[str]) -> None:
        list_.sorting = False
        self._apply_or_reject(pending, elements)
        self._resumable.append(list_.name)

    def _reject(self, pending: PendingRequest, error: RequestRejected) -> None:
        self.rejections.count(error.code)
        outcome = queries.rejection_of(self.lists.get(pending.request.list), error)
        self._responses.append((pending, encode_response(pending.request, outcome)))

    def _roll_back(
        self, executed: list[ExecutedRequest], responses: list[tuple[PendingRequest, bytes]]
    ) -> list[tuple[PendingRequest, bytes]]:
        """Undo the changes of a round that could not be written; return the responses that are true now."""
        for request in reversed(executed):
            roll_back(request, self.lists, self.cache)
        self.lists.discarded.clear()
        responses_now: list[tuple[PendingRequest, bytes]] = []
        for pending, response in responses:
            op = pending.request.op
            if op in CHANGES:
                responses_now.append((pending, self._disk_full_response(pending.request)))
            elif op in messages.READS:
                self._execute(pending)
                responses_now += self._responses
                self._responses = []
            else:
                responses_now.append((pending, response))
        return responses_now

    def _disk_full_response(self, request: Request) -> bytes:
        """Return the response to a change of the round: a cached one from an earlier round, else the error."""
        try:
            cached = self.cache.find(request) if request.client else None
        except RequestRejected as error:
            return encode_response(request, queries.outcome_of(self.lists.get(request.list), error.text, error.code))
        return cached or encode_response(
            request, queries.outcome_of(self.lists.get(request.list), _DISK_FULL, "no_room")
        )


def _discard(elements: list[str]) -> None:
    """Free a long list in chunks: freeing it at once would block the event loop."""
    while elements:
        del elements[-sorting.CHUNK_ELEMENTS :]
