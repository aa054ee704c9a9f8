"""From messages to answers, a round at a time: what has arrived is carried out, kept by one commit, then answered.

So the cost of a sync is shared by all that arrived during the one before it (the group commit of databases), every
answer tells only of what is on disk, and the journal's order is the order in which things happened. What would take
long is executed in a thread, from a copy, while the rounds go on.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from frota.remote_list import messages, queries, sorting
from frota.remote_list.changes import ExecutedRequest, cache_response, encode_response, execute, roll_back
from frota.remote_list.lists import LONG, Change, Limits, List, Lists
from frota.remote_list.messages import CHANGES, Request, RequestRejected
from frota.remote_list.response_cache import ResponseCache
from frota.remote_list.server import change_log
from frota.storage.wal.log import DiskFull

_MAX_WAITING_REQUESTS = 1000  # requests that wait for a list that is being sorted
_MAX_LARGE_BYTES = 128 * 2**20  # bytes of large answers that are being made

_INTERNAL = "Erro interno do servidor; nada foi alterado."
_DISK_FULL = "Erro: o servidor não tem espaço em disco; nada foi alterado."


class EngineCallbacks(Protocol):
    """What the engine needs of the world."""

    def send(self, reply_to: Any, response: bytes) -> None:
        """Hand an answer to whom `token` stands for."""

    def admits_large(self, reply_to: Any) -> bool:
        """Tell whether a further large answer to whom `token` stands for may be begun."""

    def publish(self, change: Change) -> None:
        """Hear of a change that is on disk."""

    def disk_full(self, error: DiskFull) -> None:
        """Hear that changes were refused, since the disk has no room."""

    def internal_error(self, error: Exception) -> None:
        """Hear that a request which changes nothing has failed for a reason that is ours."""

    def run_in_thread(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do the work in a thread, one after the other, then call `done` with its result on the loop."""


class PendingRequest(NamedTuple):
    """A request, and to whom its answer goes."""

    request: Request
    reply_to: Any


class Engine:
    """The lists as their clients see them; what is kept of them is brought back first. Raises StateError."""

    def __init__(
        self,
        limits: Limits,
        max_clients: int,
        log: change_log.ChangeLog | change_log.NoChangeLog,
        callbacks: EngineCallbacks,
    ) -> None:
        self.lists, self.cache, self.change_log, self._callbacks = (
            Lists(limits),
            ResponseCache(max_clients),
            log,
            callbacks,
        )
        self.info: dict[str, Any] = {}
        self.recovered = log.recover(self.lists, self.cache)
        self.has_subscribers = False  # since somebody asked where changes are published
        self.failed = False  # nobody knows what the disk holds: nothing is executed or answered any more
        self._responses: list[tuple[PendingRequest, bytes]] = []
        self._executed: list[ExecutedRequest] = []
        self._records: list[bytes] = []
        self._replay_bytes = 0
        self._deferred: list[PendingRequest] = []  # what takes long begins after the commit
        self._waiting: dict[str, deque[PendingRequest]] = {}  # changes of lists that are being sorted, or were
        self._resumable: deque[str] = deque()  # whose turn to go on it is
        self._deferred_bytes = self._round_bytes = (
            0  # bytes of large answers that are made elsewhere, and in this round
        )

    def handle(self, body: list[bytes], reply_to: Any) -> Request:
        """Carry out one message; its answer is sent by the next `finish` or later. Returns what it was taken for."""
        try:
            request = messages.parse(body, self.lists.limits.element_bytes)
        except RequestRejected as error:
            request = messages.identify_malformed(body)
            self._reject(PendingRequest(request, reply_to), error)
            return request
        except Exception as error:  # noqa: BLE001 -- nothing was changed yet: others must not pay for one message
            request = messages.identify_malformed(body)
            self._reject(PendingRequest(request, reply_to), self._internal_error(error))
            return request
        self._execute(PendingRequest(request, reply_to))
        return request

    def _internal_error(self, error: Exception) -> RequestRejected:
        self._callbacks.internal_error(error)
        return RequestRejected("internal", _INTERNAL)

    def resume_waiting(self, in_time: Callable[[], bool]) -> bool:
        """Carry out, while there is time, what has waited for a sort that is executed; tell whether more is left."""
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
        """Commit what has been carried out, then answer. Raises OSError where the disk is in an unknown state."""
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
        for request in executed:
            if request.applied and self.has_subscribers:
                self._callbacks.publish(request.applied.change)
        deferred, self._deferred = self._deferred, []
        for pending in deferred:
            self._start_in_thread(pending)
        while self.lists.discarded:
            self._callbacks.run_in_thread(partial(_discard, self.lists.discarded.pop()), lambda _: None)
        self.change_log.snapshot_if_due(self.lists, self.cache)

    def _commit(self) -> None:
        records, replay_bytes = self._records, self._replay_bytes
        self._records, self._replay_bytes = [], 0
        try:
            self.change_log.commit(records, replay_bytes)
        except OSError:
            self.failed = True
            raise

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
        self.has_subscribers = self.has_subscribers or request.op == "info"
        size = queries.large_response_bytes(request, list_)
        if size:
            under_way = self._deferred_bytes + self._round_bytes
            if (under_way and under_way + size > _MAX_LARGE_BYTES) or not self._callbacks.admits_large(
                pending.reply_to
            ):
                raise RequestRejected("busy", "Servidor ocupado: muitas respostas longas ao mesmo tempo.")
            if queries.is_slow(request, list_):
                self._deferred_bytes += size
                self._deferred.append(pending)
                return
            self._round_bytes += size
        try:
            response = queries.respond(request, self.lists, self.info)
        except RequestRejected:
            raise
        except Exception as error:  # noqa: BLE001 -- it changes nothing: others must not pay for one question
            raise self._internal_error(error) from None
        self._responses.append((pending, response))

    def _queue(self, pending: PendingRequest) -> None:
        waiting = self._waiting[pending.request.list]
        if len(waiting) >= _MAX_WAITING_REQUESTS:
            raise RequestRejected("busy", "Servidor ocupado: a lista está sendo ordenada.")
        waiting.append(pending)

    def _apply(self, pending: PendingRequest, elements: list[str] | None = None) -> None:
        request = pending.request
        known = self.cache.find(request) if request.client else None
        if known is not None:
            self._responses.append((pending, known))
            return
        list_ = self.lists.get(request.list)
        if request.op == "sort" and elements is None and len(list_.elements) > LONG:
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
            executed = cache_response(request, None, queries.rejection_of(list_, error), self.cache)
        self._executed.append(executed)
        self._responses.append((pending, executed.response))
        if self.change_log.durable:
            self._records.append(change_log.encode(executed, now))
            self._replay_bytes += change_log.replay_bytes(executed)

    def _apply_or_reject(self, pending: PendingRequest, elements: list[str] | None = None) -> None:
        try:
            self._apply(pending, elements)
        except RequestRejected as error:
            self._reject(pending, error)

    def _start_in_thread(self, pending: PendingRequest) -> None:
        """Do elsewhere what takes long."""
        request, list_ = pending.request, self.lists.get(pending.request.list)
        copy = List(list_.name, list_.elements.copy(), list_.size, list_.version)
        if request.op == "sort":
            self._callbacks.run_in_thread(
                lambda: sorting.sort_in_chunks(copy.elements, request.by, request.descending),
                lambda result: self._finish_sort(pending, list_, result),
            )
        else:
            self._callbacks.run_in_thread(
                lambda: b"".join(queries.show_chunks(request, copy)),
                lambda result: self._finish_show(pending, queries.large_response_bytes(request, copy), result),
            )

    def _finish_show(self, pending: PendingRequest, size: int, result: bytes) -> None:
        self._deferred_bytes -= size
        self._callbacks.send(pending.reply_to, result)

    def _finish_sort(self, pending: PendingRequest, list_: List, elements: list[str]) -> None:
        list_.sorting = False
        self._apply_or_reject(pending, elements)
        self._resumable.append(list_.name)

    def _reject(self, pending: PendingRequest, error: RequestRejected) -> None:
        outcome = queries.rejection_of(self.lists.get(pending.request.list), error)
        self._responses.append((pending, encode_response(pending.request, outcome)))

    def _roll_back(
        self, executed: list[ExecutedRequest], responses: list[tuple[PendingRequest, bytes]]
    ) -> list[tuple[PendingRequest, bytes]]:
        """Make undone what could not be kept; return what is true now in place of the answers."""
        for request in reversed(executed):
            roll_back(request, self.lists, self.cache)
        self.lists.discarded.clear()
        true: list[tuple[PendingRequest, bytes]] = []
        for pending, response in responses:
            op = pending.request.op
            if op in CHANGES:
                true.append((pending, self._disk_full_response(pending.request)))
            elif op in messages.READS:
                self._execute(pending)
                true += self._responses
                self._responses = []
            else:
                true.append((pending, response))
        return true

    def _disk_full_response(self, request: Request) -> bytes:
        """Return the answer to a change of a round that found no room: what was answered before stays so."""
        try:
            known = self.cache.find(request) if request.client else None
        except RequestRejected as error:
            return encode_response(request, queries.outcome_of(self.lists.get(request.list), error.text, error.code))
        return known or encode_response(
            request, queries.outcome_of(self.lists.get(request.list), _DISK_FULL, "no_room")
        )


def _discard(elements: list[str]) -> None:
    """Free a long list in pieces: to free it at once would keep everybody waiting."""
    while elements:
        del elements[-sorting.CHUNK_ELEMENTS :]
