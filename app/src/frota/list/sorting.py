"""Sorts in chunks, so that a sorting thread never holds the interpreter lock for long.

One call of list.sort on a million strings blocks every other thread for more than a second. Here the elements are
first partitioned between values drawn from a sample (samplesort, Frazer and McKellar 1970), then each partition is
sorted by itself. Each call lasts some milliseconds, and threads take turns between them.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

CHUNK_ELEMENTS = 8192  # of one call of list.sort
_OVERSAMPLING = 16  # samples per partition: more make their sizes more even
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)

Key = Callable[[str], Any]


def sort_key(by: str) -> Key | None:
    """Return the sort key: None for the text itself, by code points, as the legacy server sorts."""
    return None if by == "text" else _by_number


def _by_number(element: str) -> tuple[int, float | int, str]:
    """Sort numbers first, by value, then the other elements by their text."""
    text = element.strip()
    if not _NUMBER.fullmatch(text):
        return 1, 0, element
    return 0, float(text) if any(mark in text for mark in ".eE") else int(text), ""


def sort_in_chunks(elements: list[str], by: str, descending: bool, chunk: int = CHUNK_ELEMENTS) -> list[str]:
    """Return the elements in the order of list.sort, equal ones stable; takes about as long."""
    key = sort_key(by)
    if len(elements) <= chunk:
        return sorted(elements, key=key, reverse=descending)
    partitions = _partition(elements, key, chunk)
    result: list[str] = []
    for partition in reversed(partitions) if descending else partitions:
        partition.sort(key=key, reverse=descending)
        result += partition
    return result


def _partition(elements: list[str], key: Key | None, chunk: int) -> list[list[str]]:
    """Return the elements in partitions: each in the given order, and all of one before all of the next."""
    count = len(elements) // chunk + 1
    sample = sorted(random.choices(elements, k=count * _OVERSAMPLING), key=key)[_OVERSAMPLING::_OVERSAMPLING]
    borders = [key(element) for element in sample] if key else sample
    partitions: list[list[str]] = [[] for _ in range(len(borders) + 1)]
    for element in elements:  # a Python loop, which other threads can interrupt
        partitions[bisect_right(borders, key(element) if key else element)].append(element)
    return partitions
