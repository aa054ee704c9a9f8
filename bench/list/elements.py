"""Which elements are sent, and whether a list holds exactly those."""

import random
from collections.abc import Iterable, Sequence
from functools import cache

SEED = 1234


@cache
def strings(count: int) -> tuple[str, ...]:
    """Return `count` strings of 12 characters in no order, the same ones every time."""
    source = random.Random(SEED)  # repeatable, not secret
    return tuple(source.randbytes(6).hex() for _ in range(count))


def difference(acknowledged: Sequence[int], stored: Iterable[str]) -> str | None:
    """Return what is wrong with a list, in a sentence, or None where it holds just what was acknowledged.

    Client N appended the elements N.1, N.2, …, N.<acknowledged[N]> in this order (see load.c).
    """
    seen = [0] * len(acknowledged)
    for index, element in enumerate(stored):
        client, _, number = element.partition(".")
        if not (client.isdecimal() and int(client) < len(seen) and number == str(seen[int(client)] + 1)):
            return f"element {index} of the list is {element[:60]!r}, which is nobody's next one"
        seen[int(client)] += 1
    for which, (wanted, found) in enumerate(zip(acknowledged, seen, strict=True)):
        if wanted != found:
            return f"client {which} had {wanted} appends acknowledged, and the list holds {found} of them"
    return None
