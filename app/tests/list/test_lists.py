"""The operations on lists, their limits, and their undo."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import RequestRejected
from frota.list.lists import UNLIMITED, AppliedChange, Limits, Lists
from frota.list.messages import Request


def change(lists: Lists, op: str, **fields: object) -> str:
    """Change a list and return the answer, or the code of the refusal."""
    try:
        return lists.apply(Request(op, **fields), 0).change.text
    except RequestRejected as error:
        return error.code


def filled(*elements: str, limits: Limits = UNLIMITED) -> Lists:
    lists = Lists(limits)
    for element in elements:
        change(lists, "append", value=element)
    return lists


def test_recorded_legacy_session() -> None:
    """The recorded session of the legacy server is reproduced."""
    lists = filled(*"3357935")
    assert lists.get("default").elements == list("3357935")
    assert change(lists, "insert", position=4, value="5") == "Elemento '5' inserido na posição 4."
    assert change(lists, "remove", value="5") == "Elemento '5' removido."
    assert change(lists, "sort") == "Lista ordenada crescentemente."
    assert lists.get("default").elements == list("3335579")
    assert change(lists, "sort", descending=True) == "Lista ordenada decrescentemente."
    assert lists.get("default").elements == list("9755333")
    assert change(lists, "clear") == "Lista limpa."
    assert lists.get("default").elements == []


@pytest.mark.parametrize(("position", "result"), [(0, "xabc"), (3, "abcx"), (-1, "abxc"), (-3, "xabc")])
def test_insert_position_counts_like_python(position: int, result: str) -> None:
    """An insert goes where Python's list.insert would put it."""
    lists = filled(*"abc")
    change(lists, "insert", position=position, value="x")
    assert lists.get("default").elements == list(result)


@pytest.mark.parametrize("position", [4, -4, 10**12])
def test_insert_beyond_the_ends_is_rejected(position: int) -> None:
    """An insert beyond either end is rejected and changes nothing."""
    lists = filled(*"abc")
    assert change(lists, "insert", position=position, value="x") == "position"
    assert lists.get("default").version == 3


def test_remove_of_missing_element_is_rejected() -> None:
    """Removing an element that the list does not have is rejected."""
    assert change(filled(*"abc"), "remove", value="x") == "not_found"


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "append", "value": "x"},
        {"op": "insert", "value": "x", "position": 1},
        {"op": "remove", "value": "b"},
        {"op": "sort", "descending": True},
        {"op": "clear"},
    ],
    ids=lambda fields: str(fields["op"]),
)
def test_undo_reverts_the_last_change_once(fields: dict[str, object]) -> None:
    """An undo reverts the last change, of any kind, and only once."""
    lists = filled(*"abcb")
    change(lists, **fields)  # type: ignore[arg-type]
    assert change(lists, "undo") == "Última alteração desfeita."
    assert lists.get("default").elements == list("abcb")
    assert change(lists, "undo") == "nothing_to_undo"
    assert lists.get("default").version == 6


def test_lists_are_independent() -> None:
    """A change of one list does not touch another."""
    lists = filled("a")
    change(lists, "append", value="b", list="other")
    assert [lists.get(name).elements for name in ("default", "other", "third")] == [["a"], ["b"], []]
    assert set(lists.by_name) == {"default", "other"}


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        (Limits(elements=3), {"op": "append", "value": "x"}),
        (Limits(bytes=4), {"op": "append", "value": "çç"}),
        (Limits(lists=1), {"op": "append", "value": "x", "list": "second"}),
        (Limits(lists=1), {"op": "clear", "list": "second"}),
        (Limits(lists=1), {"op": "sort", "list": "second"}),
        (Limits(element_bytes=3), {"op": "insert", "value": "çç"}),
    ],
)
def test_change_beyond_a_limit_is_rejected(limits: Limits, refused: dict[str, object]) -> None:
    """A change beyond a limit is rejected and changes nothing."""
    lists = filled(*"abc", limits=limits)
    assert change(lists, **refused) in ("full", "too_large")  # type: ignore[arg-type]
    assert lists.by_name["default"].version == 3
    assert (lists.elements, lists.size) == (3, 3)
    assert change(lists, "remove", value="a") == "Elemento 'a' removido."


def test_undo_data_yields_to_new_elements() -> None:
    """What an undo would restore counts towards the limits, and is dropped for new elements."""
    lists = filled(*"abc", limits=Limits(elements=3))
    change(lists, "clear")
    change(lists, "append", list="other", value="x")
    assert change(lists, "undo") == "nothing_to_undo"
    assert lists.elements == 1


changes = st.one_of(
    st.builds(Request, st.just("append"), value=st.text(max_size=2)),
    st.builds(Request, st.just("insert"), value=st.text(max_size=2), position=st.integers(-5, 5)),
    st.builds(Request, st.just("remove"), value=st.text(max_size=1)),
    st.builds(Request, st.just("sort"), by=st.sampled_from(["text", "number"]), descending=st.booleans()),
    st.builds(Request, st.sampled_from(["clear", "undo"])),
)


@given(st.lists(changes, max_size=30), st.lists(changes, max_size=10))
def test_roll_back_restores_the_state(first: list[Request], doomed: list[Request]) -> None:
    """Changes that are rolled back, newest first, leave the state as it was."""
    lists = Lists(Limits(elements=12, bytes=20))
    for request in first:
        change_or_nothing(lists, request)
    before = snapshot(lists)
    done = [change for request in doomed if (change := change_or_nothing(lists, request))]
    for entry in reversed(done):
        lists.roll_back(entry)
    after = snapshot(lists)
    # The data of an undo may have been dropped meanwhile.
    assert after == before or [entry[:3] for entry in after[0]] == [entry[:3] for entry in before[0]]
    assert after[1:] == before[1:]


def change_or_nothing(lists: Lists, request: Request) -> AppliedChange | None:
    try:
        return lists.apply(request, 0)
    except RequestRejected:
        return None


def snapshot(lists: Lists) -> tuple[list[tuple[Any, ...]], int, int]:
    each = [
        (element_list.name, list(element_list.elements), element_list.version, element_list.size, element_list.undo)
        for element_list in lists.by_name.values()
    ]
    return each, lists.elements, lists.size


@given(st.lists(changes, max_size=40))
def test_counts_match_the_lists(requests: list[Request]) -> None:
    """The counts of elements and bytes always match the lists."""
    lists = Lists(Limits())
    for request in requests:
        change_or_nothing(lists, request)
        elements = [element for element_list in lists.by_name.values() for element in element_list.elements]
        assert (lists.elements, lists.size) == (len(elements), len("".join(elements).encode()))
        undos = [
            element_list.undo
            for element_list in lists.by_name.values()
            if element_list.undo and element_list.undo.elements
        ]
        assert lists._undo_elements == sum(len(undo.elements) for undo in undos)


def test_changes_since_tells_if_complete() -> None:
    """Recent changes are returned from a version on, with whether none is missing."""
    lists = filled()
    for number in range(5):
        lists.apply(Request("append", value=str(number)), 0)
    changes, complete = lists.changes_since("default", 2)
    assert ([change.value for change in changes], complete) == (["2", "3", "4"], True)
    lists.recent.popleft()
    assert lists.changes_since("default", 0)[1] is False
    assert lists.changes_since("default", 1)[1] is True
    assert lists.changes_since("other", 0) == ([], True)
