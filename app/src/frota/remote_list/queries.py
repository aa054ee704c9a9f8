"""What can be asked without changing anything: the answers to show, search, changes, lists and info."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from frota.remote_list import lookalikes
from frota.remote_list.changes import encode_response
from frota.remote_list.lists import LONG, Change, List, Lists
from frota.remote_list.messages import Outcome, Request, RequestRejected, response_fields

_LARGE_BYTES, _SLOW_BYTES = (
    256 * 1024,
    4 * 2**20,
)  # of a response that is large, of a list that is slow to show
_MAX_POSITIONS = 10_000  # that an answer to a search tells; how many there are, it tells as well
_CHUNK_ELEMENTS, _CHUNK_BYTES = 4096, 2**18  # that are printed in one go, where it is done beside other work


def large_response_bytes(request: Request, list_: List) -> int:
    """Return about how many bytes an answer has, where it may have many; else 0."""
    if request.op == "changes":
        return _LARGE_BYTES
    return list_.size if request.op == "show" and list_.size > _LARGE_BYTES else 0


def is_slow(request: Request, list_: List) -> bool:
    """Tell whether others should not wait until a list has been printed."""
    return request.op == "show" and (list_.size > _SLOW_BYTES or len(_slice_range(request, list_)) > LONG)


def respond(request: Request, lists: Lists, info: dict[str, Any]) -> bytes:
    """Return the answer to a request that changes nothing; `info` is what it tells of the server. Raises Refused."""
    list_ = lists.get(request.list)
    outcome = outcome_of(list_, "")
    if request.op == "show":
        return b"".join(show_chunks(request, list_))
    if request.op == "search":
        return encode_response(request, _search(request, list_))
    if request.op == "changes":
        outcome.more = _changes(lists, list_, request.since)
    elif request.op == "lists":
        outcome.more = {"lists": {name: len(other.elements) for name, other in lists.by_name.items()}}
    else:
        outcome.more = info
    return encode_response(request, outcome)


def outcome_of(list_: List, text: str, error: str = "") -> Outcome:
    """Return an outcome that tells length and version of a list."""
    return Outcome(text, list_.name, len(list_.elements), list_.version, error)


def rejection_of(list_: List, error: RequestRejected) -> Outcome:
    """Return the outcome of a request that was refused."""
    outcome = outcome_of(list_, error.text, error.code)
    if error.hint:
        outcome.more = {"hint": error.hint}
    return outcome


def show_chunks(request: Request, list_: List) -> Iterator[bytes]:
    """Yield the parts of the answer to a show: Python's repr for the original's clients, JSON for native ones."""
    wanted, elements = _slice_range(request, list_), list_.elements
    step = min(_CHUNK_ELEMENTS, max(1, _CHUNK_BYTES * len(elements) // max(1, list_.size)))
    pieces = (elements[start : min(start + step, wanted.stop)] for start in range(wanted.start, wanted.stop, step))
    if not request.native:
        yield from _joined(b"[", b", ", (repr(piece)[1:-1].encode() for piece in pieces), b"]")
        return
    outcome = outcome_of(list_, "")
    outcome.more = {"start": wanted.start}
    head = orjson.dumps(response_fields(outcome, request.id))[:-1] + b',"elements":['
    yield from _joined(head, b",", (orjson.dumps(piece)[1:-1] for piece in pieces), b"]}")


def change_fields(change: Change) -> dict[str, Any]:
    """Return a change as those who watch the list are told of it."""
    time = datetime.fromtimestamp(change.time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told: dict[str, Any] = {"list": change.list, "version": change.version, "length": change.length}
    told |= {"op": change.op, "text": change.text, "time": time}
    if change.value is not None:
        told["value"] = change.value
    if change.position is not None:
        told["position"] = change.position
    return told


def _slice_range(request: Request, list_: List) -> range:
    wanted = range(len(list_.elements))[request.start : request.stop]
    return wanted or range(0)


def _joined(head: bytes, comma: bytes, pieces: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    for number, piece in enumerate(pieces):
        if number:
            yield comma
        yield piece
    yield tail


def _changes(lists: Lists, list_: List, since: int) -> dict[str, Any]:
    """Return the changes after a version, oldest first; `more` says that there are others, to be asked for next."""
    found, complete = lists.changes_since(list_.name, since)
    told, size = [], 0
    for change in found:
        told.append(change_fields(change))
        size += len(change.value or "")
        if size > _LARGE_BYTES:
            break
    return {"changes": told, "complete": complete, "more": len(told) < len(found)}


def _search(request: Request, list_: List) -> Outcome:
    if not request.native:
        return outcome_of(list_, "Encontrado" if request.value in list_.elements else "Não encontrado")
    found = list_.elements.count(request.value)
    if not found:
        raise RequestRejected("not_found", "Não encontrado", lookalikes.hint(request.value, list_.elements))
    positions = [-1]
    while len(positions) <= min(found, _MAX_POSITIONS):
        positions.append(list_.elements.index(request.value, positions[-1] + 1))
    outcome = outcome_of(list_, "Encontrado")
    outcome.more = {"found": found, "positions": positions[1:]}
    return outcome
