"""The lists and their operations. No I/O.

Every change is one *edit* of one list, and every edit has an inverse: `undo` applies it, and so does the rollback of a
change that could not be written to disk.
"""

import sys
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from frota.core.errors import RequestRejected
from frota.list import lookalikes, sorting
from frota.list.messages import Request, truncated

MAX_RECENT_CHANGES = 1000  # of all lists, for subscribers that missed some


class Limits(NamedTuple):
    """Limits of all lists together: lists, elements, bytes (UTF-8); and of one element, in bytes."""

    lists: int = 1000
    elements: int = 2_000_000
    bytes: int = 64 * 2**20
    element_bytes: int = 65536


UNLIMITED = Limits(*[sys.maxsize] * len(Limits._fields))


class Thresholds(NamedTuple):
    """From where on work is too long for the event loop, and responses are large."""

    slow_elements: int = 50_000  # longer lists are sorted, shown and freed in a thread
    slow_bytes: int = 4 * 2**20  # larger lists are shown in a thread
    large_response_bytes: int = 256 * 1024  # larger responses are limited by `max_large_bytes`
    max_large_bytes: int = 128 * 2**20  # of all large responses that are being made


THRESHOLDS = Thresholds()


_NO_ELEMENTS: list[str] = []  # never mutated: of edits that need no elements


class Edit(NamedTuple):
    """`insert` an element at a position, `delete` it there, or `replace` all elements (`size` in bytes) by others."""

    kind: str
    position: int = 0
    element: str = ""
    elements: list[str] = _NO_ELEMENTS
    size: int = 0


@dataclass(slots=True)
class List:
    """One list: its elements, their size in bytes, its version (number of changes), and how to undo the last change."""

    name: str
    elements: list[str] = field(default_factory=list)
    size: int = 0
    version: int = 0
    undo: Edit | None = None
    sorting: bool = False  # in a thread; other changes of the list wait


class Change(NamedTuple):
    """A change as subscribers get it; `value` and `position` only where the operation has them."""

    list: str
    op: str
    text: str
    version: int
    length: int
    time_us: int
    value: str | None
    position: int | None


class AppliedChange(NamedTuple):
    """A change that was applied, with what its rollback needs."""

    change: Change
    list: List
    inverse: Edit
    previous_undo: Edit | None


class Lists:
    """All lists by name, within limits."""

    def __init__(self, limits: Limits, thresholds: Thresholds = THRESHOLDS) -> None:
        self.limits, self.thresholds = limits, thresholds
        self.by_name: dict[str, List] = {}
        self.elements = self.size = 0
        self._undo_elements = self._undo_bytes = 0  # of the lists that an undo would restore
        self.recent: deque[Change] = deque(maxlen=MAX_RECENT_CHANGES)
        self.discarded: list[list[str]] = []  # long lists that no undo restores, to be freed after the commit

    def get(self, name: str) -> List:
        """Return a list; one that was never changed is empty, and not stored."""
        return self.by_name.get(name) or List(name)

    def add(self, list_: List) -> None:
        """Add a list that a snapshot has."""
        self.by_name[list_.name] = list_
        self.elements += len(list_.elements)
        self.size += list_.size
        undo, list_.undo = list_.undo, None
        self._set_undo(list_, undo)

    def apply(self, request: Request, time_us: int, elements: list[str] | None = None) -> AppliedChange:
        """Apply a change; `elements` is the result of a sort in a thread. Raises RequestRejected."""
        list_ = self.get(request.list)
        edit = _plan_edit(list_, request, elements)
        if not list_.version and len(self.by_name) >= self.limits.lists:
            raise RequestRejected("full", f"Limite atingido: já há {len(self.by_name)} listas.")
        if edit.kind == "insert" and request.op != "undo":
            self._check_limits(edit.size)
        if not list_.version:
            self.by_name[request.list] = list_
        previous = list_.undo
        inverse = self._apply_edit(list_, edit)
        self._set_undo(list_, None if request.op == "undo" else inverse)
        list_.version += 1
        applied = AppliedChange(_describe_change(list_, request, edit, time_us), list_, inverse, previous)
        self.recent.append(applied.change)
        return applied

    def roll_back(self, applied: AppliedChange) -> None:
        """Undo the newest change without a trace."""
        list_ = applied.list
        self._apply_edit(list_, applied.inverse)
        list_.version -= 1
        self._set_undo(list_, applied.previous_undo)
        self.recent.pop()
        if not list_.version:
            del self.by_name[list_.name]

    def changes_since(self, name: str, version: int) -> tuple[list[Change], bool]:
        """Return the recent changes of a list after a version, oldest first, and whether none is missing."""
        changes = [change for change in self.recent if change.list == name and change.version > version]
        return changes, self.get(name).version - version <= len(changes)

    def _apply_edit(self, list_: List, edit: Edit) -> Edit:
        """Apply an edit, and return its inverse."""
        kind, position, element, elements, size = edit
        if kind == "insert":
            list_.elements.insert(position, element)
            list_.size += size
            self.elements += 1
            self.size += size
            return Edit("delete", position, "", _NO_ELEMENTS, size)
        if kind == "delete":
            list_.size -= size
            self.elements -= 1
            self.size -= size
            return Edit("insert", position, list_.elements.pop(position), _NO_ELEMENTS, size)
        inverse = Edit("replace", 0, "", list_.elements, list_.size)
        self.elements += len(elements) - len(list_.elements)
        self.size += size - list_.size
        list_.elements, list_.size = elements, size
        return inverse

    def _set_undo(self, list_: List, edit: Edit | None) -> None:
        for undo, sign in ((list_.undo, -1), (edit, 1)):
            if undo and undo.elements:
                self._undo_elements += sign * len(undo.elements)
                self._undo_bytes += sign * undo.size
        if (
            list_.undo
            and len(list_.undo.elements) > self.thresholds.slow_elements
            and list_.undo.elements is not list_.elements
        ):
            self.discarded.append(list_.undo.elements)
        list_.undo = edit

    def _check_limits(self, size: int) -> None:
        limits = self.limits
        if size > limits.element_bytes:
            raise RequestRejected(
                "too_large", f"Elemento longo demais: {size} bytes; o máximo é {limits.element_bytes}."
            )
        elements, total = self.elements + 1, self.size + size
        if elements > limits.elements or total > limits.bytes:
            raise RequestRejected(
                "full", f"Limite atingido: as listas têm {self.elements} elementos, {self.size} bytes."
            )
        if elements + self._undo_elements > limits.elements or total + self._undo_bytes > limits.bytes:
            for other in self.by_name.values():  # cleared lists can no longer be restored
                if other.undo and other.undo.elements:
                    self._set_undo(other, None)


def insert_position(list_: List, request: Request) -> int:
    """Return the index of an insert; a negative position counts from the end.

    Raises RequestRejected beyond the ends.
    """
    length = len(list_.elements)
    position = request.position + length if request.position < 0 else request.position
    if not 0 <= position <= length:
        raise RequestRejected("position", f"Posição inválida: {request.position}")
    return position


def success_text(request: Request, value: str) -> str:
    """Return the text of a successful change; `value` is its element as the text quotes it."""
    if request.op == "insert":
        return f"Elemento '{value}' inserido na posição {request.position}."
    if request.op == "sort":
        return "Lista ordenada decrescentemente." if request.descending else "Lista ordenada crescentemente."
    return _SUCCESS_TEXTS[request.op].format(value)


_SUCCESS_TEXTS = {
    "append": "Elemento '{}' adicionado.",
    "remove": "Elemento '{}' removido.",
    "clear": "Lista limpa.",
    "undo": "Última alteração desfeita.",
}


def _plan_edit(list_: List, request: Request, elements: list[str] | None) -> Edit:
    """Return the edit of a change. Raises RequestRejected where there is nothing to change."""
    op, value = request.op, request.value
    if op == "append":
        return Edit("insert", len(list_.elements), value, _NO_ELEMENTS, _utf8_bytes(value))
    if op == "insert":
        return Edit("insert", insert_position(list_, request), value, _NO_ELEMENTS, _utf8_bytes(value))
    if op == "remove":
        try:
            return Edit("delete", list_.elements.index(value), size=_utf8_bytes(value))
        except ValueError:
            value_shown = truncated(value) if request.native else value
            hint = lookalikes.hint(value, list_.elements) if request.native else ""
            raise RequestRejected("not_found", f"Elemento '{value_shown}' não encontrado.", hint) from None
    if op == "sort":
        if elements is None:
            elements = sorting.sort_in_chunks(list_.elements, request.by, request.descending)
        return Edit("replace", elements=elements, size=list_.size)
    if op == "clear":
        return Edit("replace", elements=[])
    if list_.undo is None:
        raise RequestRejected("nothing_to_undo", "Nada a desfazer.")
    return list_.undo


def _describe_change(list_: List, request: Request, edit: Edit, time_us: int) -> Change:
    op = request.op
    value = request.value if op in _WITH_VALUE else None
    position = edit.position if edit.kind != "replace" else None
    text = success_text(request, truncated(request.value))
    return Change(list_.name, op, text, list_.version, len(list_.elements), time_us, value, position)


_WITH_VALUE = ("append", "insert", "remove")


def _utf8_bytes(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())
