"""The operations that change nothing: show, search, changes, lists and info."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from frota.core.errors import RequestRejected
from frota.list import lookalikes
from frota.list.changes import encode_response
from frota.list.lists import Change, List, Lists, Thresholds
from frota.list.messages import Outcome, Request, response_fields

_MAX_POSITIONS = 10_000  # in the response to a search; `found` counts all
_CHUNK_ELEMENTS, _CHUNK_BYTES = 4096, 2**18  # of one chunk, so that other threads get the interpreter lock


def large_response_bytes(request: Request, list_: List, thresholds: Thresholds) -> int:
    """Return the estimated size of a response that may be large, else 0."""
    if request.op == "changes":
        return thresholds.large_response_bytes
    return list_.size if request.op == "show" and list_.size > thresholds.large_response_bytes else 0


def is_slow(request: Request, list_: List, thresholds: Thresholds) -> bool:
    """Tell whether a list takes so long to show that a thread has to do it."""
    return request.op == "show" and (
        list_.size > thresholds.slow_bytes or len(_slice_range(request, list_)) > thresholds.slow_elements
    )


def respond(request: Request, lists: Lists, info: dict[str, Any]) -> bytes:
    """Return the response to a request that changes nothing; `info` has the server's fields. Raises RequestRejected."""
    list_ = lists.get(request.list)
    outcome = outcome_of(list_, "")
    if request.op == "show":
        return b"".join(show_chunks(request, list_))
    if request.op == "search":
        return encode_response(request, _search(request, list_))
    if request.op == "changes":
        outcome.extra = _changes(lists, list_, request.since)
    elif request.op == "lists":
        outcome.extra = {"lists": {name: len(other.elements) for name, other in lists.by_name.items()}}
    else:
        outcome.extra = info
    return encode_response(request, outcome)


def outcome_of(list_: List, text: str, error: str = "") -> Outcome:
    """Return an outcome with the length and the version of a list."""
    return Outcome(text, list_.name, len(list_.elements), list_.version, error)


def rejection_of(list_: List, error: RequestRejected) -> Outcome:
    """Return the outcome of a rejected request."""
    outcome = outcome_of(list_, error.text, error.code)
    if error.hint:
        outcome.extra = {"hint": error.hint}
    return outcome


def show_chunks(request: Request, list_: List, chunk_elements: int = _CHUNK_ELEMENTS) -> Iterator[bytes]:
    """Yield the chunks of the response to a show: Python's repr for legacy clients, JSON for native ones."""
    indexes, elements = _slice_range(request, list_), list_.elements
    step = min(chunk_elements, max(1, _CHUNK_BYTES * len(elements) // max(1, list_.size)))
    chunks = (elements[start : min(start + step, indexes.stop)] for start in range(indexes.start, indexes.stop, step))
    if not request.native:
        yield from _joined(b"[", b", ", (repr(chunk)[1:-1].encode() for chunk in chunks), b"]")
        return
    outcome = outcome_of(list_, "")
    outcome.extra = {"start": indexes.start}
    head = orjson.dumps(response_fields(outcome, request.id))[:-1] + b',"elements":['
    yield from _joined(head, b",", (orjson.dumps(chunk)[1:-1] for chunk in chunks), b"]}")


def change_fields(change: Change) -> dict[str, Any]:
    """Return a change as it is published."""
    time = datetime.fromtimestamp(change.time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields: dict[str, Any] = {"list": change.list, "version": change.version, "length": change.length}
    fields |= {"op": change.op, "text": change.text, "time": time}
    if change.value is not None:
        fields["value"] = change.value
    if change.position is not None:
        fields["position"] = change.position
    return fields


def _slice_range(request: Request, list_: List) -> range:
    return range(len(list_.elements))[request.start : request.stop] or range(0)


def _joined(head: bytes, comma: bytes, chunks: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    for number, chunk in enumerate(chunks):
        if number:
            yield comma
        yield chunk
    yield tail


def _changes(lists: Lists, list_: List, since: int) -> dict[str, Any]:
    """Return the changes after a version, oldest first; `more` tells the client to request the next ones."""
    recent, complete = lists.changes_since(list_.name, since)
    changes, size = [], 0
    for change in recent:
        changes.append(change_fields(change))
        size += len(change.value or "")
        if size > lists.thresholds.large_response_bytes:
            break
    return {"changes": changes, "complete": complete, "more": len(changes) < len(recent)}


def _search(request: Request, list_: List) -> Outcome:
    if not request.native:
        return outcome_of(list_, "Encontrado" if request.value in list_.elements else "Não encontrado")
    count = list_.elements.count(request.value)
    if not count:
        raise RequestRejected("not_found", "Não encontrado", lookalikes.hint(request.value, list_.elements))
    positions = [-1]
    while len(positions) <= min(count, _MAX_POSITIONS):
        positions.append(list_.elements.index(request.value, positions[-1] + 1))
    outcome = outcome_of(list_, "Encontrado")
    outcome.extra = {"found": count, "positions": positions[1:]}
    return outcome
