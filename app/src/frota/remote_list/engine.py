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

from frota.logbook.store import NoRoom
from frota.remote_list import journal, messages, reading, sorting
from frota.remote_list.changing import Done, carry_out, printed, remember, take_back
from frota.remote_list.lists import LONG, Change, Limits, List, Lists
from frota.remote_list.messages import CHANGES, Refused, Request
from frota.remote_list.remembered import Remembered

_MOST_WAITING = 10_000  # requests that wait for a list that is being sorted
_MOST_LONG = 8  # answers that are being printed at the same time

_NOT_KEPT = "Erro: o servidor não tem espaço em disco; nada foi alterado."


class Edge(Protocol):
    """What the engine needs of the world."""

    def send(self, token: Any, answer: bytes) -> None:
        """Hand an answer to whom `token` stands for."""

    def may_be_large(self, token: Any) -> bool:
        """Tell whether there is room for a further large answer to whom `token` stands for."""

    def changed(self, change: Change) -> None:
        """Hear of a change that is on disk."""

    def no_room(self, error: NoRoom) -> None:
        """Hear that changes were refused, since the disk has no room."""

    def elsewhere(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do the work in a thread, one after the other, then call `done` with its result on the loop."""


class Asked(NamedTuple):
    """A request, and to whom its answer goes."""

    request: Request
    token: Any


class Engine:
    """The lists as their clients see them; what is kept of them is brought back first. Raises StateError."""

    def __init__(self, limits: Limits, remembered: int, kept: journal.Journal | journal.Memory, edge: Edge) -> None:
        self.lists, self.remembered, self.journal, self._edge = Lists(limits), Remembered(remembered), kept, edge
        self.info: dict[str, Any] = {}
        self.recovered = kept.recover(self.lists, self.remembered)
        self._answers: list[tuple[Asked, bytes]] = []
        self._done: list[Done] = []
        self._records: list[bytes] = []
        self._late: list[Asked] = []  # what takes long begins after the commit
        self._waiting: dict[str, deque[Asked]] = {}  # requests for lists that are being sorted
        self._long = 0

    def take(self, body: list[bytes], token: Any) -> Request:
        """Carry out one message; its answer is sent by the next `finish` or later. Returns what it was taken for."""
        try:
            request = messages.parse(body)
        except Refused as error:
            request = messages.refused(body)
            self._refuse(Asked(request, token), error)
        else:
            self._carry_out(Asked(request, token))
        return request

    def finish(self) -> None:
        """Commit what has been carried out, then answer. Raises OSError where the disk is in an unknown state."""
        answers, done, late = self._answers, self._done, self._late
        self._answers, self._done, self._late = [], [], []
        if self._records:
            records, self._records = self._records, []
            try:
                self.journal.commit(records)
            except NoRoom as error:
                self._edge.no_room(error)
                answers = self._taken_back(done, answers)
                done = []
        for asked, answer in answers:
            self._edge.send(asked.token, answer)
        for one in done:
            if one.carried:
                self._edge.changed(one.carried.change)
        for asked in late:
            self._begin(asked)
        while self.lists.discarded:
            self._edge.elsewhere(partial(_discard, self.lists.discarded.pop()), lambda _: None)
        self.journal.snapshot_if_due(self.lists, self.remembered)

    def _carry_out(self, asked: Asked) -> None:
        request = asked.request
        one = self.lists.get(request.list)
        try:
            if request.op not in CHANGES:
                self._read(asked, one)
            elif one.sorting:
                self._wait(asked, one)
            else:
                self._change(asked, one)
        except Refused as error:
            self._refuse(asked, error)

    def _read(self, asked: Asked, one: List) -> None:
        large = reading.may_be_large(asked.request, one)
        if large and (self._long >= _MOST_LONG or not self._edge.may_be_large(asked.token)):
            raise Refused("busy", "Servidor ocupado: muitas respostas longas ao mesmo tempo.")
        if reading.takes_long(asked.request, one):
            self._long += 1
            self._late.append(asked)
            return
        self._answers.append((asked, reading.answer(asked.request, self.lists, self.info)))

    def _wait(self, asked: Asked, one: List) -> None:
        waiting = self._waiting.setdefault(one.name, deque())
        if len(waiting) >= _MOST_WAITING:
            raise Refused("busy", "Servidor ocupado: a lista está sendo ordenada.")
        waiting.append(asked)

    def _change(self, asked: Asked, one: List, elements: list[str] | None = None) -> None:
        request = asked.request
        now = time.time_ns() // 1000
        known = self.remembered.find(request) if request.client else None
        if known is not None:
            self._answers.append((asked, known))
            return
        if request.op == "sort" and elements is None and len(one.elements) > LONG:
            one.sorting = True
            self._late.append(asked)
            return
        try:
            done = carry_out(request, now, self.lists, self.remembered, elements)
        except Refused as error:
            if not request.client:
                raise
            outcome = reading.outcome_of(one, error.text, error.code)
            done = remember(request, None, outcome, self.remembered)
        self._done.append(done)
        if self.journal.keeps:
            refused = done.carried is None
            self._records.append(
                journal.encode_refusal(request, done.answer, now) if refused else journal.encode(request, now)
            )
        self._answers.append((asked, done.answer))

    def _begin(self, asked: Asked) -> None:
        """Do elsewhere what takes long."""
        request, one = asked.request, self.lists.get(asked.request.list)
        elements = one.elements.copy()
        if request.op == "sort":
            self._edge.elsewhere(
                lambda: sorting.in_pieces(elements, request.by, request.descending),
                lambda result: self._sorted(asked, one, result),
            )
            return
        copy = List(one.name, elements, version=one.version)
        self._edge.elsewhere(lambda: b"".join(reading.show(request, copy)), lambda result: self._shown(asked, result))

    def _shown(self, asked: Asked, result: bytes) -> None:
        self._long -= 1
        self._edge.send(asked.token, result)

    def _sorted(self, asked: Asked, one: List, elements: list[str]) -> None:
        one.sorting = False
        try:
            self._change(asked, one, elements)
        except Refused as error:
            self._refuse(asked, error)
        self.finish()
        waiting = self._waiting.pop(one.name, deque())
        while waiting and not one.sorting:
            self._carry_out(waiting.popleft())
        if waiting:  # one of them was a sort
            self._waiting[one.name] = waiting + self._waiting.get(one.name, deque())
        self.finish()

    def _refuse(self, asked: Asked, error: Refused) -> None:
        outcome = reading.outcome_of(self.lists.get(asked.request.list), error.text, error.code)
        self._answers.append((asked, printed(asked.request, outcome)))

    def _taken_back(self, done: list[Done], answers: list[tuple[Asked, bytes]]) -> list[tuple[Asked, bytes]]:
        """Make undone what could not be kept; return what is true now in place of the answers."""
        for one in reversed(done):
            take_back(one, self.lists, self.remembered)
        self.lists.discarded.clear()
        undone = {id(one.request) for one in done}
        true = []
        for asked, answer in answers:
            if id(asked.request) in undone:
                outcome = reading.outcome_of(self.lists.get(asked.request.list), _NOT_KEPT, "no_room")
                true.append((asked, printed(asked.request, outcome)))
            elif asked.request.op in messages.READS:
                self._answers = []
                self._carry_out(asked)
                true += self._answers
            else:
                true.append((asked, answer))
        self._answers = []
        return true


def _discard(elements: list[str]) -> None:
    """Free a long list in pieces: to free it at once would keep everybody waiting."""
    while elements:
        del elements[-sorting.PIECE :]
