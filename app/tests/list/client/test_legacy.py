"""Our client with a legacy server: recognized, addressed in its protocol, and never sent a change twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import UnsupportedByServer
from frota.list.client import legacy
from frota.list.client.client import OutcomeUnknown
from support.fake_list_server import DISCONNECT, fake_list_server
from support.legacy_list_server import LegacyList, legacy_server
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
def test_legacy_server_equals_a_python_list(requests: list[dict[str, Any]]) -> None:
    """Our requests, in the legacy protocol, have the effect that they have on a Python list."""
    server, model = LegacyList(), list[str]()
    for request in [*requests, {"op": "show"}]:
        whole = {"list": "default", "id": "i", **request}
        answer = legacy.parse_response(whole, server.respond(legacy.command(whole)))
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


def test_legacy_server_is_recognized() -> None:
    """A legacy server is recognized by its first response, and gets legacy commands."""
    with legacy_server() as (port, received), client(port) as user:
        assert user.ask("append", value="3").text == "Elemento '3' adicionado."
        assert user.ask("show").fields["elements"] == ["3"]
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
        *((op, {}, f"it has no operation '{op}'") for op in ("undo", "lists", "info", "changes")),
    ],
)
def test_unsupported_request_is_not_sent(op: str, fields: dict[str, Any], reason: str) -> None:
    """A request that a legacy server cannot execute is an error, and not sent."""
    with legacy_server() as (port, received), client(port) as user:
        with pytest.raises(UnsupportedByServer, match="is a legacy server: ") as caught:
            user.ask(op, **fields)
        assert reason in str(caught.value)
        assert user.ask("clear").ok
    assert received[1:] == ["limpar"]


def _losing(command: bytes, losses: int) -> Any:
    """Answer like a legacy server that loses some responses to a command."""
    remaining = iter(range(losses))

    def handle(request: bytes) -> list[bytes]:
        if request.startswith(b"{"):
            return [NOT_UNDERSTOOD]
        return [DISCONNECT] if request == command and next(remaining, None) is not None else [b"['x']"]

    return handle


def test_change_with_lost_response_is_not_retried() -> None:
    """A change whose response a legacy server lost is not repeated; its outcome is unknown."""
    with fake_list_server(_losing(b"append x", 1)) as server, client(server.port) as user:
        with pytest.raises(OutcomeUnknown, match="its outcome is unknown"):
            user.ask("append", value="x")
        assert user.ask("show").fields["elements"] == ["x"]
    assert [request for _, request in server.received if b"{" not in request] == [b"append x", b"mostrar"]


def test_read_with_lost_response_is_retried() -> None:
    """A read whose response a legacy server lost is repeated."""
    with fake_list_server(_losing(b"mostrar", 2)) as server, client(server.port) as user:
        assert user.ask("show").fields["elements"] == ["x"]
    assert [request for _, request in server.received].count(b"mostrar") == 3


@pytest.mark.parametrize("response", [b"[", b"[1]", b"{}", b"[" * 9999])
def test_malformed_list_is_an_error(response: bytes) -> None:
    """A list that cannot be parsed is an error."""
    with (
        fake_list_server(lambda request: [NOT_UNDERSTOOD if b"{" in request else response]) as server,
        client(server.port) as user,
        pytest.raises(UnsupportedByServer, match="cannot be read"),
    ):
        user.ask("show")
