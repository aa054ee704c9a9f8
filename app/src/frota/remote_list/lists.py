"""The lists themselves, and what each operation makes of them. No I/O.

Every change comes down to one *edit* of one list, and every edit has an inverse: it is what `undo` applies, and what
takes a change back that could not be kept on disk.
"""

import sys
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from frota.remote_list import lookalikes, sorting
from frota.remote_list.messages import Refused, Request, shown

REMEMBERED_CHANGES = 1000  # the last ones, of all lists, for those who were away for a moment
LONG = 50_000  # elements from which on sorting and showing take longer than others should wait for


class Limits(NamedTuple):
    """How many lists there may be, and how much in all of them: elements, their bytes in UTF-8, bytes of one."""

    lists: int = 1000
    elements: int = 2_000_000
    bytes: int = 64 * 2**20
    element_bytes: int = 65536


UNLIMITED = Limits(*[sys.maxsize] * len(Limits._fields))


_NONE: list[str] = []  # never changed: where an edit has this one, it has no use for it


class Edit(NamedTuple):
    """`insert` the element at a position, `delete` it from there, or `replace` all (`size` in bytes) by others."""

    kind: str
    position: int = 0
    element: str = ""
    elements: list[str] = _NONE
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


class Carried(NamedTuple):
    """A change that was carried out, with what takes it back."""

    change: Change
    list: List
    inverse: Edit
    former_undo: Edit | None


class Lists:
    """All lists by name, kept within limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.all: dict[str, List] = {}
        self.elements = self.size = 0
        self._held_elements = self._held_size = 0  # in the lists that an undo would bring back
        self.recent: deque[Change] = deque(maxlen=REMEMBERED_CHANGES)
        self.discarded: list[list[str]] = []  # long lists that no undo brings back, once what was changed is kept

    def get(self, name: str) -> List:
        """Return a list; one that nobody has changed yet is empty, and not kept."""
        return self.all.get(name) or List(name)

    def add(self, one: List) -> None:
        """Take a list in as it was kept."""
        self.all[one.name] = one
        self.elements += len(one.elements)
        self.size += one.size
        undo, one.undo = one.undo, None
        self._set_undo(one, undo)

    def change(self, request: Request, time_us: int, elements: list[str] | None = None) -> Carried:
        """Carry out a change; `elements` are those of a sort that was done elsewhere. Raises Refused."""
        one = self.get(request.list)
        edit = _planned(one, request, elements)
        if not one.version and len(self.all) >= self.limits.lists:
            raise Refused("full", f"Limite atingido: já há {len(self.all)} listas.")
        if edit.kind == "insert" and request.op != "undo":
            self._require_room(edit.size)
        if not one.version:
            self.all[request.list] = one
        former = one.undo
        inverse = self._edited(one, edit)
        self._set_undo(one, None if request.op == "undo" else inverse)
        one.version += 1
        carried = Carried(_told(one, request, edit, time_us), one, inverse, former)
        self.recent.append(carried.change)
        return carried

    def take_back(self, carried: Carried) -> None:
        """Undo the newest change as if it had never been."""
        one = carried.list
        self._edited(one, carried.inverse)
        one.version -= 1
        self._set_undo(one, carried.former_undo)
        self.recent.pop()
        if not one.version:
            del self.all[one.name]

    def since(self, name: str, version: int) -> tuple[list[Change], bool]:
        """Return the remembered changes of a list after a version, oldest first, and whether these are all."""
        found = [change for change in self.recent if change.list == name and change.version > version]
        return found, self.get(name).version - version <= len(found)

    def _edited(self, one: List, edit: Edit) -> Edit:
        """Carry out an edit, and return its inverse."""
        kind, position, element, elements, size = edit
        if kind == "insert":
            one.elements.insert(position, element)
            one.size += size
            self.elements += 1
            self.size += size
            return Edit("delete", position, "", _NONE, size)
        if kind == "delete":
            one.size -= size
            self.elements -= 1
            self.size -= size
            return Edit("insert", position, one.elements.pop(position), _NONE, size)
        inverse = Edit("replace", 0, "", one.elements, one.size)
        self.elements += len(elements) - len(one.elements)
        self.size += size - one.size
        one.elements, one.size = elements, size
        return inverse

    def _set_undo(self, one: List, edit: Edit | None) -> None:
        for undo, sign in ((one.undo, -1), (edit, 1)):
            if undo and undo.elements:
                self._held_elements += sign * len(undo.elements)
                self._held_size += sign * undo.size
        if one.undo and len(one.undo.elements) > LONG and one.undo.elements is not one.elements:
            self.discarded.append(one.undo.elements)
        one.undo = edit

    def _require_room(self, size: int) -> None:
        most = self.limits
        if size > most.element_bytes:
            raise Refused("too_large", f"Elemento longo demais: {size} bytes; o máximo é {most.element_bytes}.")
        elements, total = self.elements + 1, self.size + size
        if elements > most.elements or total > most.bytes:
            raise Refused("full", f"Limite atingido: as listas têm {self.elements} elementos, {self.size} bytes.")
        if elements + self._held_elements > most.elements or total + self._held_size > most.bytes:
            for other in self.all.values():  # what was cleared can no longer be brought back
                if other.undo and other.undo.elements:
                    self._set_undo(other, None)


def position_in(one: List, request: Request) -> int:
    """Return where an insert goes, a negative position counted from the end. Raises Refused beyond the ends."""
    length = len(one.elements)
    position = request.position + length if request.position < 0 else request.position
    if not 0 <= position <= length:
        raise Refused("position", f"Posição inválida: {request.position}")
    return position


def sentence(request: Request, value: str) -> str:
    """Return the answer to a change that was carried out; `value` is its element as it shall appear."""
    if request.op == "insert":
        return f"Elemento '{value}' inserido na posição {request.position}."
    if request.op == "sort":
        return "Lista ordenada decrescentemente." if request.descending else "Lista ordenada crescentemente."
    return _SENTENCES[request.op].format(value)


_SENTENCES = {
    "append": "Elemento '{}' adicionado.",
    "remove": "Elemento '{}' removido.",
    "clear": "Lista limpa.",
    "undo": "Última alteração desfeita.",
}


def _planned(one: List, request: Request, elements: list[str] | None) -> Edit:
    """Return the edit that a change comes down to. Raises Refused where there is nothing to change."""
    op, value = request.op, request.value
    if op == "append":
        return Edit("insert", len(one.elements), value, _NONE, _size(value))
    if op == "insert":
        return Edit("insert", position_in(one, request), value, _NONE, _size(value))
    if op == "remove":
        try:
            return Edit("delete", one.elements.index(value), size=_size(value))
        except ValueError:
            told = shown(value) if request.native else value
            hint = lookalikes.hint(value, one.elements) if request.native else ""
            raise Refused("not_found", f"Elemento '{told}' não encontrado.", hint) from None
    if op == "sort":
        if elements is None:
            elements = sorting.in_pieces(one.elements, request.by, request.descending)
        return Edit("replace", elements=elements, size=one.size)
    if op == "clear":
        return Edit("replace", elements=[])
    if one.undo is None:
        raise Refused("nothing_to_undo", "Nada a desfazer.")
    return one.undo


def _told(one: List, request: Request, edit: Edit, time_us: int) -> Change:
    op = request.op
    value = request.value if op in _WITH_VALUE else None
    position = edit.position if edit.kind != "replace" else None
    text = sentence(request, shown(request.value))
    return Change(one.name, op, text, one.version, len(one.elements), time_us, value, position)


_WITH_VALUE = ("append", "insert", "remove")


def _size(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())
