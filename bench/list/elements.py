"""The elements that are appended, and the comparison of a list with them."""

import random
from collections.abc import Iterable, Sequence
from functools import cache

SEED = 1234


@cache
def strings(count: int) -> tuple[str, ...]:
    """Return `count` unsorted strings of 12 characters, the same in every run."""
    source = random.Random(SEED)  # repeatable, not secret
    return tuple(source.randbytes(6).hex() for _ in range(count))


def difference(acknowledged: Sequence[int], stored: Iterable[str]) -> str | None:
    """Return a description of the difference, None if the list contains exactly the acknowledged elements.

    Client N appended the elements N.1, N.2, …, N.<acknowledged[N]> in this order (see load.c).
    """
    counts = [0] * len(acknowledged)
    for index, element in enumerate(stored):
        client, _, number = element.partition(".")
        if not (client.isdecimal() and int(client) < len(counts) and number == str(counts[int(client)] + 1)):
            return f"element {index} of the list is {element[:60]!r}, which is not the next element of any client"
        counts[int(client)] += 1
    for client_number, (expected, count) in enumerate(zip(acknowledged, counts, strict=True)):
        if expected != count:
            return f"of the {expected} acknowledged appends of client {client_number}, the list contains {count}"
    return None
