"""Sorting in chunks gives the result of one call of sorted()."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.list import sorting

_CHUNK = 8  # elements, so that short lists are partitioned


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", ["text", "number"])
@given(elements=st.lists(st.text(max_size=3) | st.integers(-20, 20).map(str) | st.floats().map(str), max_size=300))
def test_chunked_sort_equals_sorted(by: str, descending: bool, elements: list[str]) -> None:
    """Sorting in chunks equals sorted(), in both orders and directions."""
    expected = sorted(elements, key=sorting.sort_key(by), reverse=descending)
    assert sorting.sort_in_chunks(elements, by, descending, _CHUNK) == expected


@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable(descending: bool) -> None:
    """Equal numbers keep their order."""
    elements = [random.Random(n).choice(["1", "1.0", " 1", "2", "10", "x"]) for n in range(200)]
    assert sorting.sort_in_chunks(elements, "number", descending, _CHUNK) == sorted(
        elements, key=sorting.sort_key("number"), reverse=descending
    )


def test_numbers_sort_before_text() -> None:
    """Numbers are sorted by value, before elements that are no numbers."""
    elements = ["x", "10", "9", "-1", "1e3", "٣", "nan", "1_0", ".5", "9" * 400]
    expected = ["-1", ".5", "9", "10", "1e3", "1_0", "9" * 400, "nan", "x", "٣"]
    assert sorting.sort_in_chunks(elements, "number", descending=False, chunk=_CHUNK) == expected


def test_partitions_are_balanced() -> None:
    """Distinct elements are partitioned evenly, even among many equal ones."""
    elements = ["same"] * 500 + [str(n) for n in range(500)]
    random.Random(1).shuffle(elements)
    others = [sum(element != "same" for element in part) for part in sorting._partition(elements, None, _CHUNK)]
    assert max(others) < 12 * _CHUNK
    assert sorting.sort_in_chunks(elements, "text", descending=False, chunk=_CHUNK) == sorted(elements)
