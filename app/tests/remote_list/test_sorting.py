"""Sorting in pieces gives what sorting in one call gives."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.remote_list import sorting


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "CHUNK_ELEMENTS", 8)
        yield


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", ["text", "number"])
@given(elements=st.lists(st.text(max_size=3) | st.integers(-20, 20).map(str) | st.floats().map(str), max_size=300))
def test_pieces_sorted_are_the_whole_sorted(by: str, descending: bool, elements: list[str]) -> None:
    expected = sorted(elements, key=sorting.sort_key(by), reverse=descending)
    assert sorting.sort_in_chunks(elements, by, descending) == expected


@pytest.mark.parametrize("descending", [False, True])
def test_equal_numbers_keep_their_order(descending: bool) -> None:
    elements = [random.Random(n).choice(["1", "1.0", " 1", "2", "10", "x"]) for n in range(200)]
    assert sorting.sort_in_chunks(elements, "number", descending) == sorted(
        elements, key=sorting.sort_key("number"), reverse=descending
    )


def test_numbers_are_sorted_by_value_and_come_before_what_is_none() -> None:
    elements = ["x", "10", "9", "-1", "1e3", "٣", "nan", "1_0", ".5", "9" * 400]
    expected = ["-1", ".5", "9", "10", "1e3", "1_0", "9" * 400, "nan", "x", "٣"]
    assert sorting.sort_in_chunks(elements, "number", descending=False) == expected


def test_no_piece_is_much_longer_than_it_should_be_even_if_most_elements_are_equal() -> None:
    elements = ["same"] * 500 + [str(n) for n in range(500)]
    random.Random(1).shuffle(elements)
    others = [sum(element != "same" for element in one) for one in sorting._partition(elements, None)]
    assert max(others) < 12 * sorting.CHUNK_ELEMENTS
    assert sorting.sort_in_chunks(elements, "text", descending=False) == sorted(elements)
