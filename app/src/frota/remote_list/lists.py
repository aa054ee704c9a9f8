"""The lists themselves, and what each operation makes of them. No I/O.

Every change comes down to one *edit* of one list, and every edit has an inverse: it is what `undo` applies, and what
takes a change back that could not be kept on disk.
"""

import sys
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from frota.remote_list import lookalikes, sorting
from frota.remote_list.messages import Request, RequestRejected, truncated

MAX_RECENT_CHANGES = 1000  # the last ones, of all lists, for those who were away for a moment
LONG = 50_000  # elements from which on sorting and showing take longer than others should wait for


class Limits(NamedTuple):
    """How many lists there may be, and how much in all of them: elements, their bytes in UTF-8, bytes of one."""

    lists: int = 1000
    elements: int = 2_000_000
    bytes: int = 64 * 2**20
    element_bytes: int = 65536


UNLIMITED = Limits(*[sys.maxsize] * len(Limits._fields))


_NO_ELEMENTS: list[str] = []  # never changed: where an edit has this one, it has no use for it


class Edit(NamedTuple):
    """`insert` the element at a position, `delete` it from there, or `replace` all (`size` in bytes) by others."""

    kind: str
    position: int = 0
    element: str = ""
    elements: list[str] = _NO_ELEMENTS
    size: int = 0


@dataclass(slots=True)
class List:
    """One list: its elements, their bytes, how often it was changed, and how to undo the last change."""

    name: str
    elements: list[str] = field(default_factory=list)
    size: int = 0
    version: int = 0
    undo: Edit | None = None
    sorting: bool = False  # somewhere else at the moment: other changes have to wait


class Change(NamedTuple):
    """A change as it is told of; `value` and `position` where the operation has them."""

    list: str
    op: str
    text: str
    version: int
    length: int
    time_us: int
    value: str | None
    position: int | None


class AppliedChange(NamedTuple):
    """A change that was carried out, with what takes it back."""

    change: Change
    list: List
    inverse: Edit
    previous_undo: Edit | None


class Lists:
    """All lists by name, kept within limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.by_name: dict[str, List] = {}
        self.elements = self.size = 0
        self._undo_elements = self._undo_bytes = 0  # in the lists that an undo would bring back
        self.recent: deque[Change] = deque(maxlen=MAX_RECENT_CHANGES)
        self.discarded: list[list[str]] = []  # long lists that no undo brings back, once what was changed is kept

    def get(self, name: str) -> List:
        """Return a list; one that nobody has changed yet is empty, and not kept."""
        return self.by_name.get(name) or List(name)

    def add(self, list_: List) -> None:
        """Take a list in as it was kept."""
        self.by_name[list_.name] = list_
        self.elements += len(list_.elements)
        self.size += list_.size
        undo, list_.undo = list_.undo, None
        self._set_undo(list_, undo)

    def apply(self, request: Request, time_us: int, elements: list[str] | None = None) -> AppliedChange:
        """Carry out a change; `elements` are those of a sort that was done elsewhere. Raises Refused."""
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
        """Undo the newest change as if it had never been."""
        list_ = applied.list
        self._apply_edit(list_, applied.inverse)
        list_.version -= 1
        self._set_undo(list_, applied.previous_undo)
        self.recent.pop()
        if not list_.version:
            del self.by_name[list_.name]

    def changes_since(self, name: str, version: int) -> tuple[list[Change], bool]:
        """Return the remembered changes of a list after a version, oldest first, and whether these are all."""
        found = [change for change in self.recent if change.list == name and change.version > version]
        return found, self.get(name).version - version <= len(found)

    def _apply_edit(self, list_: List, edit: Edit) -> Edit:
        """Carry out an edit, and return its inverse."""
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
        if list_.undo and len(list_.undo.elements) > LONG and list_.undo.elements is not list_.elements:
            self.discarded.append(list_.undo.elements)
        list_.undo = edit

    def _check_limits(self, size: int) -> None:
        most = self.limits
        if size > most.element_bytes:
            raise RequestRejected("too_large", f"Elemento longo demais: {size} bytes; o máximo é {most.element_bytes}.")
        elements, total = self.elements + 1, self.size + size
        if elements > most.elements or total > most.bytes:
            raise RequestRejected(
                "full", f"Limite atingido: as listas têm {self.elements} elementos, {self.size} bytes."
            )
        if elements + self._undo_elements > most.elements or total + self._undo_bytes > most.bytes:
            for other in self.by_name.values():  # what was cleared can no longer be brought back
                if other.undo and other.undo.elements:
                    self._set_undo(other, None)


def insert_position(list_: List, request: Request) -> int:
    """Return where an insert goes, a negative position counted from the end. Raises Refused beyond the ends."""
    length = len(list_.elements)
    position = request.position + length if request.position < 0 else request.position
    if not 0 <= position <= length:
        raise RequestRejected("position", f"Posição inválida: {request.position}")
    return position


def success_text(request: Request, value: str) -> str:
    """Return the answer to a change that was carried out; `value` is its element as it shall appear."""
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
    """Return the edit that a change comes down to. Raises Refused where there is nothing to change."""
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
