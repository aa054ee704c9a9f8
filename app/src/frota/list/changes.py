"""Executes one change, from a request to its response; used for new requests and for replaying the change log."""

from typing import NamedTuple

from frota.list.lists import AppliedChange, Lists, success_text
from frota.list.messages import MAX_SHOWN_CHARACTERS, Outcome, Request, encode_legacy, encode_native
from frota.list.response_cache import ResponseCache


class ExecutedRequest(NamedTuple):
    """A request with its response.

    `applied` is None for a rejected change; `previous` is the cached response that the new one replaced.
    """

    request: Request
    applied: AppliedChange | None
    response: bytes
    previous: tuple[int, bytes] | None


def execute(
    request: Request, time_us: int, lists: Lists, cache: ResponseCache, elements: list[str] | None = None
) -> ExecutedRequest:
    """Apply a change and cache its response; `elements` is the result of a sort in a thread. Raises RequestRejected."""
    applied = lists.apply(request, time_us, elements)
    change = applied.change
    if not request.native:
        text = change.text if len(request.value) <= MAX_SHOWN_CHARACTERS else success_text(request, request.value)
        return ExecutedRequest(request, applied, text.encode(), None)
    return cache_response(request, applied, Outcome(change.text, change.list, change.length, change.version), cache)


def cache_response(
    request: Request, applied: AppliedChange | None, outcome: Outcome, cache: ResponseCache
) -> ExecutedRequest:
    """Encode the response to a change, and cache it where the request has an idempotency key."""
    response = encode_response(request, outcome)
    previous = cache.store(request.client, request.number, response) if request.client else None
    return ExecutedRequest(request, applied, response, previous)


def roll_back(done: ExecutedRequest, lists: Lists, cache: ResponseCache) -> None:
    """Undo the newest change and its cached response."""
    if done.applied:
        lists.roll_back(done.applied)
    if done.request.client:
        cache.roll_back(done.request.client, done.previous)


def encode_response(request: Request, outcome: Outcome) -> bytes:
    """Encode an outcome in the protocol of its request: legacy text or native JSON."""
    return encode_native(outcome, request.id) if request.native else encode_legacy(outcome)
