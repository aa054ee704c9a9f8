"""One change, from the request to its answer: the same when it is asked for and when the journal is read back."""

from typing import NamedTuple

from frota.remote_list.lists import Carried, Lists, sentence
from frota.remote_list.messages import SHOWN, Outcome, Request, print_native, print_original
from frota.remote_list.response_cache import ResponseCache


class Done(NamedTuple):
    """A change that was carried out (None: it was refused), its answer, and the remembered one that this replaced."""

    request: Request
    carried: Carried | None
    answer: bytes
    former: tuple[int, bytes] | None


def carry_out(
    request: Request, time_us: int, lists: Lists, remembered: ResponseCache, elements: list[str] | None = None
) -> Done:
    """Change a list and remember the answer; `elements` are those of a sort that was done elsewhere. Raises Refused."""
    carried = lists.change(request, time_us, elements)
    change = carried.change
    if not request.native:
        text = change.text if len(request.value) <= SHOWN else sentence(request, request.value)
        return Done(request, carried, text.encode(), None)
    return remember(request, carried, Outcome(change.text, change.list, change.length, change.version), remembered)


def remember(request: Request, carried: Carried | None, outcome: Outcome, remembered: ResponseCache) -> Done:
    """Make the answer to a change, and remember it where the request has an id."""
    answer = printed(request, outcome)
    former = remembered.note(request.client, request.number, answer) if request.client else None
    return Done(request, carried, answer, former)


def take_back(done: Done, lists: Lists, remembered: ResponseCache) -> None:
    """Undo the newest change and its answer as if they had never been."""
    if done.carried:
        lists.take_back(done.carried)
    if done.request.client:
        remembered.take_back(done.request.client, done.former)


def printed(request: Request, outcome: Outcome) -> bytes:
    """Return the answer as the sender of the request understands it."""
    return print_native(outcome, request.id) if request.native else print_original(outcome)
