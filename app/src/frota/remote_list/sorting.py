"""Sorting in pieces, so that a thread that sorts never holds the interpreter for long.

One call of list.sort on a million strings keeps every other thread waiting for more than a second. Here the elements
are first dealt into ranges between values drawn from a sample (samplesort, Frazer and McKellar 1970), then every range
is sorted for itself; each call lasts some milliseconds, and threads take turns between them.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

CHUNK_ELEMENTS = 8192  # elements that are dealt with in one go
_OVERSAMPLING = 16  # sampled elements for each range: the more, the more alike the ranges
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)

Key = Callable[[str], Any]


def sort_key(by: str) -> Key | None:
    """Return the key to sort by: None for the text itself, code point by code point, as the original sorts."""
    return None if by == "text" else _by_number


def _by_number(element: str) -> tuple[int, float | int, str]:
    """Numbers come first, by value; what is no number follows, by its text."""
    text = element.strip()
    if not _NUMBER.fullmatch(text):
        return 1, 0, element
    return 0, float(text) if any(mark in text for mark in ".eE") else int(text), ""


def sort_in_chunks(elements: list[str], by: str, descending: bool) -> list[str]:
    """Return the elements sorted as list.sort would, equal ones in their order; takes about as long."""
    key = sort_key(by)
    if len(elements) <= CHUNK_ELEMENTS:
        return sorted(elements, key=key, reverse=descending)
    ranges = _partition(elements, key)
    result: list[str] = []
    for range_ in reversed(ranges) if descending else ranges:
        range_.sort(key=key, reverse=descending)
        result += range_
    return result


def _partition(elements: list[str], key: Key | None) -> list[list[str]]:
    """Return the elements in ranges, each in its former order and all in one before all of the next."""
    count = len(elements) // CHUNK_ELEMENTS + 1
    sample = sorted(random.choices(elements, k=count * _OVERSAMPLING), key=key)[_OVERSAMPLING::_OVERSAMPLING]
    borders = [key(element) for element in sample] if key else sample
    ranges: list[list[str]] = [[] for _ in range(len(borders) + 1)]
    for element in elements:  # plain Python: here other threads may take over at any time
        ranges[bisect_right(borders, key(element) if key else element)].append(element)
    return ranges
