"""One change, from the request to its answer: the same when it is asked for and when the journal is read back."""

from typing import NamedTuple

from frota.remote_list.lists import AppliedChange, Lists, success_text
from frota.remote_list.messages import MAX_SHOWN_CHARACTERS, Outcome, Request, encode_legacy, encode_native
from frota.remote_list.response_cache import ResponseCache


class ExecutedRequest(NamedTuple):
    """A change that was carried out (None: it was refused), its answer, and the remembered one that this replaced."""

    request: Request
    applied: AppliedChange | None
    response: bytes
    previous: tuple[int, bytes] | None


def execute(
    request: Request, time_us: int, lists: Lists, cache: ResponseCache, elements: list[str] | None = None
) -> ExecutedRequest:
    """Change a list and remember the answer; `elements` are those of a sort that was done elsewhere. Raises Refused."""
    applied = lists.apply(request, time_us, elements)
    change = applied.change
    if not request.native:
        text = change.text if len(request.value) <= MAX_SHOWN_CHARACTERS else success_text(request, request.value)
        return ExecutedRequest(request, applied, text.encode(), None)
    return cache_response(request, applied, Outcome(change.text, change.list, change.length, change.version), cache)


def cache_response(
    request: Request, applied: AppliedChange | None, outcome: Outcome, cache: ResponseCache
) -> ExecutedRequest:
    """Make the answer to a change, and remember it where the request has an id."""
    response = encode_response(request, outcome)
    previous = cache.store(request.client, request.number, response) if request.client else None
    return ExecutedRequest(request, applied, response, previous)


def roll_back(done: ExecutedRequest, lists: Lists, cache: ResponseCache) -> None:
    """Undo the newest change and its answer as if they had never been."""
    if done.applied:
        lists.roll_back(done.applied)
    if done.request.client:
        cache.roll_back(done.request.client, done.previous)


def encode_response(request: Request, outcome: Outcome) -> bytes:
    """Return the answer as the sender of the request understands it."""
    return encode_native(outcome, request.id) if request.native else encode_legacy(outcome)
