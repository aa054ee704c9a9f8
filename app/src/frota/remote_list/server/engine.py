"""From messages to answers, a round at a time: what has arrived is carried out, kept by one commit, then answered.

So the cost of a sync is shared by all that arrived during the one before it (the group commit of databases), every
answer tells only of what is on disk, and the journal's order is the order in which things happened. What would take
long is done in a thread, from a copy, while the rounds go on.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from frota.remote_list import messages, queries, sorting
from frota.remote_list.changes import Done, carry_out, printed, remember, take_back
from frota.remote_list.lists import LONG, Change, Limits, List, Lists
from frota.remote_list.messages import CHANGES, Refused, Request
from frota.remote_list.response_cache import ResponseCache
from frota.remote_list.server import journal
from frota.storage.wal.log import DiskFull

_MOST_WAITING = 1000  # requests that wait for a list that is being sorted
_MOST_LARGE = 128 * 2**20  # bytes of large answers that are being made

_INTERNAL = "Erro interno do servidor; nada foi alterado."
_NOT_KEPT = "Erro: o servidor não tem espaço em disco; nada foi alterado."


class Edge(Protocol):
    """What the engine needs of the world."""

    def send(self, token: Any, answer: bytes) -> None:
        """Hand an answer to whom `token` stands for."""

    def room_for_large(self, token: Any) -> bool:
        """Tell whether a further large answer to whom `token` stands for may be begun."""

    def changed(self, change: Change) -> None:
        """Hear of a change that is on disk."""

    def no_room(self, error: DiskFull) -> None:
        """Hear that changes were refused, since the disk has no room."""

    def failed(self, error: Exception) -> None:
        """Hear that a request which changes nothing has failed for a reason that is ours."""

    def elsewhere(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do the work in a thread, one after the other, then call `done` with its result on the loop."""


class Asked(NamedTuple):
    """A request, and to whom its answer goes."""

    request: Request
    token: Any


class Engine:
    """The lists as their clients see them; what is kept of them is brought back first. Raises StateError."""

    def __init__(self, limits: Limits, remembered: int, kept: journal.Journal | journal.Memory, edge: Edge) -> None:
        self.lists, self.remembered, self.journal, self._edge = Lists(limits), ResponseCache(remembered), kept, edge
        self.info: dict[str, Any] = {}
        self.recovered = kept.recover(self.lists, self.remembered)
        self.watched = False  # since somebody asked where changes are published
        self.failed = False  # nobody knows what the disk holds: nothing is done or answered any more
        self._answers: list[tuple[Asked, bytes]] = []
        self._done: list[Done] = []
        self._records: list[bytes] = []
        self._weight = 0
        self._late: list[Asked] = []  # what takes long begins after the commit
        self._waiting: dict[str, deque[Asked]] = {}  # changes of lists that are being sorted, or were
        self._sorted_lists: deque[str] = deque()  # whose turn to go on it is
        self._printing = self._printed = 0  # bytes of large answers that are made elsewhere, and in this round

    def take(self, body: list[bytes], token: Any) -> Request:
        """Carry out one message; its answer is sent by the next `finish` or later. Returns what it was taken for."""
        try:
            request = messages.parse(body, self.lists.limits.element_bytes)
        except Refused as error:
            request = messages.refused(body)
            self._refuse(Asked(request, token), error)
            return request
        except Exception as error:  # noqa: BLE001 -- nothing was changed yet: others must not pay for one message
            request = messages.refused(body)
            self._refuse(Asked(request, token), self._ours(error))
            return request
        self._carry_out(Asked(request, token))
        return request

    def _ours(self, error: Exception) -> Refused:
        self._edge.failed(error)
        return Refused("internal", _INTERNAL)

    def resume(self, in_time: Callable[[], bool]) -> bool:
        """Carry out, while there is time, what has waited for a sort that is done; tell whether more is left."""
        while self._sorted_lists and in_time():
            name = self._sorted_lists[0]
            waiting = self._waiting[name]
            if waiting and not self.lists.get(name).sorting:
                self._change_or_refuse(waiting.popleft())
                continue
            self._sorted_lists.popleft()
            if not self.lists.get(name).sorting:
                del self._waiting[name]
        return bool(self._sorted_lists)

    def finish(self) -> None:
        """Commit what has been carried out, then answer. Raises OSError where the disk is in an unknown state."""
        answers, done = self._answers, self._done
        self._answers, self._done = [], []
        if self._records:
            try:
                self._commit()
            except DiskFull as error:
                self._edge.no_room(error)
                answers, done = self._taken_back(done, answers), []
        self._printed = 0
        self.remembered.trim()
        for asked, answer in answers:
            self._edge.send(asked.token, answer)
        for one in done:
            if one.carried and self.watched:
                self._edge.changed(one.carried.change)
        late, self._late = self._late, []
        for asked in late:
            self._begin(asked)
        while self.lists.discarded:
            self._edge.elsewhere(partial(_discard, self.lists.discarded.pop()), lambda _: None)
        self.journal.snapshot_if_due(self.lists, self.remembered)

    def _commit(self) -> None:
        records, weight = self._records, self._weight
        self._records, self._weight = [], 0
        try:
            self.journal.commit(records, weight)
        except OSError:
            self.failed = True
            raise

    def _carry_out(self, asked: Asked) -> None:
        try:
            if asked.request.op not in CHANGES:
                self._read(asked)
            elif asked.request.list in self._waiting:
                self._wait(asked)
            else:
                self._change(asked)
        except Refused as error:
            self._refuse(asked, error)

    def _read(self, asked: Asked) -> None:
        request, one = asked.request, self.lists.get(asked.request.list)
        self.watched = self.watched or request.op == "info"
        size = queries.large_size(request, one)
        if size:
            under_way = self._printing + self._printed
            if (under_way and under_way + size > _MOST_LARGE) or not self._edge.room_for_large(asked.token):
                raise Refused("busy", "Servidor ocupado: muitas respostas longas ao mesmo tempo.")
            if queries.takes_long(request, one):
                self._printing += size
                self._late.append(asked)
                return
            self._printed += size
        try:
            answer = queries.answer(request, self.lists, self.info)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 -- it changes nothing: others must not pay for one question
            raise self._ours(error) from None
        self._answers.append((asked, answer))

    def _wait(self, asked: Asked) -> None:
        waiting = self._waiting[asked.request.list]
        if len(waiting) >= _MOST_WAITING:
            raise Refused("busy", "Servidor ocupado: a lista está sendo ordenada.")
        waiting.append(asked)

    def _change(self, asked: Asked, elements: list[str] | None = None) -> None:
        request = asked.request
        known = self.remembered.find(request) if request.client else None
        if known is not None:
            self._answers.append((asked, known))
            return
        one = self.lists.get(request.list)
        if request.op == "sort" and elements is None and len(one.elements) > LONG:
            one.sorting = True
            self._waiting.setdefault(one.name, deque())
            self._late.append(asked)
            return
        now = time.time_ns() // 1000
        try:
            done = carry_out(request, now, self.lists, self.remembered, elements)
        except Refused as error:
            if not request.client:
                raise
            done = remember(request, None, queries.refusal_of(one, error), self.remembered)
        self._done.append(done)
        self._answers.append((asked, done.answer))
        if self.journal.keeps:
            self._records.append(journal.encode(done, now))
            self._weight += journal.weight(done)

    def _change_or_refuse(self, asked: Asked, elements: list[str] | None = None) -> None:
        try:
            self._change(asked, elements)
        except Refused as error:
            self._refuse(asked, error)

    def _begin(self, asked: Asked) -> None:
        """Do elsewhere what takes long."""
        request, one = asked.request, self.lists.get(asked.request.list)
        copy = List(one.name, one.elements.copy(), one.size, one.version)
        if request.op == "sort":
            self._edge.elsewhere(
                lambda: sorting.in_pieces(copy.elements, request.by, request.descending),
                lambda result: self._sorted(asked, one, result),
            )
        else:
            self._edge.elsewhere(
                lambda: b"".join(queries.show(request, copy)),
                lambda result: self._shown(asked, queries.large_size(request, copy), result),
            )

    def _shown(self, asked: Asked, size: int, result: bytes) -> None:
        self._printing -= size
        self._edge.send(asked.token, result)

    def _sorted(self, asked: Asked, one: List, elements: list[str]) -> None:
        one.sorting = False
        self._change_or_refuse(asked, elements)
        self._sorted_lists.append(one.name)

    def _refuse(self, asked: Asked, error: Refused) -> None:
        outcome = queries.refusal_of(self.lists.get(asked.request.list), error)
        self._answers.append((asked, printed(asked.request, outcome)))

    def _taken_back(self, done: list[Done], answers: list[tuple[Asked, bytes]]) -> list[tuple[Asked, bytes]]:
        """Make undone what could not be kept; return what is true now in place of the answers."""
        for one in reversed(done):
            take_back(one, self.lists, self.remembered)
        self.lists.discarded.clear()
        true: list[tuple[Asked, bytes]] = []
        for asked, answer in answers:
            op = asked.request.op
            if op in CHANGES:
                true.append((asked, self._not_kept(asked.request)))
            elif op in messages.READS:
                self._carry_out(asked)
                true += self._answers
                self._answers = []
            else:
                true.append((asked, answer))
        return true

    def _not_kept(self, request: Request) -> bytes:
        """Return the answer to a change of a round that found no room: what was answered before stays so."""
        try:
            known = self.remembered.find(request) if request.client else None
        except Refused as error:
            return printed(request, queries.outcome_of(self.lists.get(request.list), error.text, error.code))
        return known or printed(request, queries.outcome_of(self.lists.get(request.list), _NOT_KEPT, "no_room"))


def _discard(elements: list[str]) -> None:
    """Free a long list in pieces: to free it at once would keep everybody waiting."""
    while elements:
        del elements[-sorting.PIECE :]
