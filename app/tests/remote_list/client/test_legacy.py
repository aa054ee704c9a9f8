"""A server of the original's: recognised, asked in its own words, held against a Python list, and never asked twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.remote_list.client import legacy
from frota.remote_list.client.client import OutcomeUnknown
from support.fake_list_server import CUT, fake
from support.legacy_list_server import Original, original_server
from support.list_clients import client

NOT_UNDERSTOOD = legacy.NOT_UNDERSTOOD.encode()

_WORDS = st.sampled_from(["3", "10", "a", "ç", "'", '"', "[", "\\", "não"])
_REQUESTS = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["append", "remove", "search"]), "value": _WORDS}),
    st.fixed_dictionaries({"op": st.just("insert"), "position": st.integers(0, 9), "value": _WORDS}),
    st.fixed_dictionaries({"op": st.just("sort"), "by": st.just("text"), "descending": st.booleans()}),
    st.sampled_from([{"op": "clear"}, {"op": "show", "start": None, "stop": None}]),
)


@given(st.lists(_REQUESTS, max_size=20))
def test_an_original_carries_out_our_requests_as_a_python_list_would(requests: list[dict[str, Any]]) -> None:
    server, model = Original(), list[str]()
    for request in [*requests, {"op": "show"}]:
        whole = {"list": "default", "id": "i", **request}
        answer = legacy.parse_response(whole, server.answer(legacy.command(whole)))
        assert answer["ok"] == _carried_out(model, request)
        if request["op"] == "show":
            assert answer["elements"] == model


def _carried_out(model: list[str], request: dict[str, Any]) -> bool:
    op, value = request["op"], request.get("value", "")
    if op in ("remove", "search") and value not in model:
        return False
    if op == "insert" and request["position"] > len(model):
        return False
    if op == "append":
        model.append(value)
    elif op == "remove":
        model.remove(value)
    elif op == "insert":
        model.insert(request["position"], value)
    elif op == "sort":
        model.sort(reverse=request["descending"])
    elif op == "clear":
        model.clear()
    return True


def test_a_server_of_the_originals_is_recognised_and_asked_in_its_own_words() -> None:
    with original_server() as (port, received), client(port) as one:
        assert one.ask("append", value="3").text == "Elemento '3' adicionado."
        assert one.ask("show").fields["elements"] == ["3"]
    assert received[1:] == ["append 3", "mostrar"]


@pytest.mark.parametrize(
    ("op", "fields", "reason"),
    [
        ("append", {"value": "two words"}, "must be one word"),
        ("append", {"value": ""}, "must be one word"),
        ("insert", {"position": -1, "value": "x"}, "from the end"),
        ("show", {"start": 1}, "the whole list only"),
        ("sort", {"by": "number"}, "by text only"),
        ("clear", {"list": "other"}, "none named 'other'"),
        *((op, {}, f"it knows no '{op}'") for op in ("undo", "lists", "info", "changes")),
    ],
)
def test_what_the_original_cannot_do_is_said_and_not_sent(op: str, fields: dict[str, Any], reason: str) -> None:
    with original_server() as (port, received), client(port) as one:
        with pytest.raises(legacy.Unsupported, match="is one of the original's: ") as told:
            one.ask(op, **fields)
        assert reason in str(told.value)
        assert one.ask("clear").ok
    assert received[1:] == ["limpar"]


def _losing(command: bytes, losses: int) -> Any:
    """Answer like an original, but let an answer or two be lost."""
    left = iter(range(losses))

    def handle(request: bytes) -> list[bytes]:
        if request.startswith(b"{"):
            return [NOT_UNDERSTOOD]
        return [CUT] if request == command and next(left, None) is not None else [b"['x']"]

    return handle


def test_a_change_whose_answer_an_original_lost_is_not_made_again_but_in_doubt() -> None:
    with fake(_losing(b"append x", 1)) as server, client(server.port) as one:
        with pytest.raises(OutcomeUnknown, match="nobody knows whether it was done"):
            one.ask("append", value="x")
        assert one.ask("show").fields["elements"] == ["x"]
    assert [request for _, request in server.received if b"{" not in request] == [b"append x", b"mostrar"]


def test_a_question_whose_answer_an_original_lost_is_asked_again() -> None:
    with fake(_losing(b"mostrar", 2)) as server, client(server.port) as one:
        assert one.ask("show").fields["elements"] == ["x"]
    assert [request for _, request in server.received].count(b"mostrar") == 3


@pytest.mark.parametrize("said", [b"[", b"[1]", b"{}", b"[" * 9999])
def test_a_list_that_an_original_garbles_is_an_error(said: bytes) -> None:
    with (
        fake(lambda request: [NOT_UNDERSTOOD if b"{" in request else said]) as server,
        client(server.port) as one,
        pytest.raises(legacy.Unsupported, match="cannot be read"),
    ):
        one.ask("show")
