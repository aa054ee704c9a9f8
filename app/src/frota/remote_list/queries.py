"""What can be asked without changing anything: the answers to show, search, changes, lists and info."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from frota.remote_list import lookalikes
from frota.remote_list.changes import printed
from frota.remote_list.lists import LONG, Change, List, Lists
from frota.remote_list.messages import Outcome, Refused, Request, fields

_LARGE, _LONG_BYTES = 256 * 1024, 4 * 2**20  # bytes from which on an answer is large, or a list takes long to print
_MOST_POSITIONS = 10_000  # that an answer to a search tells; how many there are, it tells as well
_PIECE, _PIECE_BYTES = 4096, 2**18  # that are printed in one go, where it is done beside other work


def large_size(request: Request, one: List) -> int:
    """Return about how many bytes an answer has, where it may have many; else 0."""
    if request.op == "changes":
        return _LARGE
    return one.size if request.op == "show" and one.size > _LARGE else 0


def takes_long(request: Request, one: List) -> bool:
    """Tell whether others should not wait until a list has been printed."""
    return request.op == "show" and (one.size > _LONG_BYTES or len(_wanted(request, one)) > LONG)


def answer(request: Request, lists: Lists, info: dict[str, Any]) -> bytes:
    """Return the answer to a request that changes nothing; `info` is what it tells of the server. Raises Refused."""
    one = lists.get(request.list)
    outcome = outcome_of(one, "")
    if request.op == "show":
        return b"".join(show(request, one))
    if request.op == "search":
        return printed(request, _search(request, one))
    if request.op == "changes":
        outcome.more = _changes(lists, one, request.since)
    elif request.op == "lists":
        outcome.more = {"lists": {name: len(other.elements) for name, other in lists.all.items()}}
    else:
        outcome.more = info
    return printed(request, outcome)


def outcome_of(one: List, text: str, error: str = "") -> Outcome:
    """Return an outcome that tells length and version of a list."""
    return Outcome(text, one.name, len(one.elements), one.version, error)


def refusal_of(one: List, error: Refused) -> Outcome:
    """Return the outcome of a request that was refused."""
    outcome = outcome_of(one, error.text, error.code)
    if error.hint:
        outcome.more = {"hint": error.hint}
    return outcome


def show(request: Request, one: List) -> Iterator[bytes]:
    """Yield the parts of the answer to a show: Python's repr for the original's clients, JSON for native ones."""
    wanted, elements = _wanted(request, one), one.elements
    step = min(_PIECE, max(1, _PIECE_BYTES * len(elements) // max(1, one.size)))
    pieces = (elements[start : min(start + step, wanted.stop)] for start in range(wanted.start, wanted.stop, step))
    if not request.native:
        yield from _joined(b"[", b", ", (repr(piece)[1:-1].encode() for piece in pieces), b"]")
        return
    outcome = outcome_of(one, "")
    outcome.more = {"start": wanted.start}
    head = orjson.dumps(fields(outcome, request.id))[:-1] + b',"elements":['
    yield from _joined(head, b",", (orjson.dumps(piece)[1:-1] for piece in pieces), b"]}")


def published(change: Change) -> dict[str, Any]:
    """Return a change as those who watch the list are told of it."""
    time = datetime.fromtimestamp(change.time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told: dict[str, Any] = {"list": change.list, "version": change.version, "length": change.length}
    told |= {"op": change.op, "text": change.text, "time": time}
    if change.value is not None:
        told["value"] = change.value
    if change.position is not None:
        told["position"] = change.position
    return told


def _wanted(request: Request, one: List) -> range:
    wanted = range(len(one.elements))[request.start : request.stop]
    return wanted or range(0)


def _joined(head: bytes, comma: bytes, pieces: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    for number, piece in enumerate(pieces):
        if number:
            yield comma
        yield piece
    yield tail


def _changes(lists: Lists, one: List, since: int) -> dict[str, Any]:
    """Return the changes after a version, oldest first; `more` says that there are others, to be asked for next."""
    found, complete = lists.since(one.name, since)
    told, size = [], 0
    for change in found:
        told.append(published(change))
        size += len(change.value or "")
        if size > _LARGE:
            break
    return {"changes": told, "complete": complete, "more": len(told) < len(found)}


def _search(request: Request, one: List) -> Outcome:
    if not request.native:
        return outcome_of(one, "Encontrado" if request.value in one.elements else "Não encontrado")
    found = one.elements.count(request.value)
    if not found:
        raise Refused("not_found", "Não encontrado", lookalikes.hint(request.value, one.elements))
    positions = [-1]
    while len(positions) <= min(found, _MOST_POSITIONS):
        positions.append(one.elements.index(request.value, positions[-1] + 1))
    outcome = outcome_of(one, "Encontrado")
    outcome.more = {"found": found, "positions": positions[1:]}
    return outcome
