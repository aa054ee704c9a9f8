"""The legacy and the native protocol: valid, malformed and hostile messages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import RequestRejected
from frota.list import messages
from frota.list.messages import Outcome, Request

CLIENT = "0123456789abcdef" * 2
MAX_ELEMENT_BYTES = 1000


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("mostrar", Request("show")),
        ("append 3", Request("append", value="3")),
        ("  append\t3  ", Request("append", value="3")),
        ("append a b", Request("append", value="a")),
        ("insert 4 5", Request("insert", value="5", position=4)),
        ("remover 5", Request("remove", value="5")),
        ("pesquisar 6", Request("search", value="6")),
        ("ordenar_cresc", Request("sort")),
        ("ordenar_desc", Request("sort", descending=True)),
        ("\ufeffmostrar", Request("show")),
        ("mostrar\0", Request("show")),
        ("append x\r\n", Request("append", value="x")),
        ("append x\0\0", Request("append", value="x")),
        ("append Pressa\u0303o", Request("append", value="Pressa\u0303o")),
        ("insert +1 x", Request("insert", value="x", position=1)),
        ("insert 007 x", Request("insert", value="x", position=7)),
        ("limpar", Request("clear")),
        ("limpar tudo", Request("clear", value="tudo")),
    ],
)
def test_legacy_commands(text: str, request_: Request) -> None:
    """The legacy commands are parsed."""
    assert messages.parse([text.encode()], MAX_ELEMENT_BYTES) == request_


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ([], "Comando inválido: a mensagem está vazia."),
        ([b""], "Comando inválido: a mensagem está vazia."),
        ([b" \n"], "Comando inválido: a mensagem está vazia."),
        ([b"\xff\xfe"], "Comando inválido: a mensagem não é UTF-8."),
        ([b"mostrar", b"append 3"], "Comando inválido: a mensagem tem 2 partes; deve ter uma só."),
        ([b"append"], "Comando inválido: uso: append X"),
        ([b"insert 1"], "Comando inválido: uso: insert POS X"),
        ([b"insert x y"], "Posição inválida: x"),
        ([b"insert -1 y"], "Posição inválida: -1"),
        ([b"insert 1" + b"0" * 5000 + b" y"], f"Posição inválida: 1{'0' * 39}"),
        ([b"insert 1_0 y"], "Posição inválida: 1_0"),
        (["insert \u0661 y".encode()], "Posição inválida: \u0661"),
        (["insert \uff11 y".encode()], "Posição inválida: \uff11"),
        ([b"insert 1e3 y"], "Posição inválida: 1e3"),
        ([b"insert 0x1 y"], "Posição inválida: 0x1"),
        ([b"insert 1.0 y"], "Posição inválida: 1.0"),
        ([b"insert -0x y"], "Posição inválida: -0x"),
        ([b"insert +-1 y"], "Posição inválida: +-1"),
        ([b"insert \x001 y"], "Posição inválida: \x001"),
        ([b"\0"], "Comando inválido: a mensagem está vazia."),
        (["\ufeff".encode()], "Comando inválido: a mensagem está vazia."),
        ([b"most\0rar"], "Comando inválido."),
        ([b"GET / HTTP/1.1"], "Comando inválido."),
    ],
)
def test_malformed_legacy_command(body: list[bytes], sentence: str) -> None:
    """A malformed legacy command is rejected with the reason."""
    with pytest.raises(RequestRejected) as caught:
        messages.parse(body, MAX_ELEMENT_BYTES)
    assert caught.value.text == sentence


def test_native_request_with_all_fields() -> None:
    """A native request may have every field of its operation."""
    given_ = {"op": "insert", "list": "compras", "value": "a b", "position": -1, "id": f"{CLIENT}:7"}
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    parsed = messages.parse([json.dumps({**given_, "traceparent": trace}).encode()], MAX_ELEMENT_BYTES)
    wanted = Request("insert", list="compras", value="a b", position=-1, id=f"{CLIENT}:7")
    wanted.client, wanted.number, wanted.trace, wanted.native = CLIENT, 7, "ab" * 16, True
    assert parsed == wanted


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"op": 1}',
        '{"op": "drop"}',
        '{"op": "append"}',
        '{"op": "append", "value": 3}',
        '{"op": "append", "value": "\\ud800"}',
        '{"op": "append", "value": "x", "id": "1"}',
        f'{{"op": "append", "value": "x", "id": "{CLIENT}:0"}}',
        f'{{"op": "append", "value": "x", "id": "{"0" * 32}:1"}}',
        f'{{"op": "append", "value": "x", "id": "{CLIENT}:9999999999999999999"}}',
        '{"op": "append", "value": "x", "list": ""}',
        '{"op": "append", "value": "x", "list": "a\\nb"}',
        '{"op": "append", "value": "x", "position": 1}',
        '{"op": "insert", "value": "x"}',
        '{"op": "insert", "value": "x", "position": true}',
        '{"op": "insert", "value": "x", "position": 1.0}',
        '{"op": "insert", "value": "x", "position": 10000000000000000000}',
        '{"op": "sort", "by": "length"}',
        '{"op": "sort", "descending": 1}',
        '{"op": "show", "start": "1"}',
        '{"op": "changes", "since": null}',
        '{"op": "show", "stop": NaN}',
        '{"op": "show", "stop": ' + "9" * 5000 + "}",
        '{"op": ' + "[" * 100_000,
    ],
)
def test_malformed_native_request(text: str) -> None:
    """A malformed native request is rejected, and gets a native response."""
    with pytest.raises(RequestRejected) as caught:
        messages.parse([text.encode()], MAX_ELEMENT_BYTES)
    assert caught.value.text.startswith(("Comando inválido: ", "Elemento longo demais: "))
    assert len(caught.value.text) < 300
    assert messages.identify_malformed([text.encode()]).native


def test_malformed_request_keeps_its_id() -> None:
    """The response to a malformed request has the id of the request."""
    assert messages.identify_malformed([f'{{"op": "drop", "id": "{CLIENT}:1"}}'.encode()]).id == f"{CLIENT}:1"


def test_invalid_traceparent_is_ignored() -> None:
    """An invalid traceparent does not reject a request."""
    assert messages.parse([b'{"op": "show", "traceparent": "x"}'], MAX_ELEMENT_BYTES).trace == ""


def parsed_or_rejected(body: list[bytes]) -> str:
    """Return the operation, or the text of the rejection."""
    try:
        return messages.parse(body, MAX_ELEMENT_BYTES).op
    except RequestRejected as error:
        messages.identify_malformed(body)
        return error.text


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_random_bytes(body: list[bytes]) -> None:
    """Random frames are parsed or rejected."""
    assert parsed_or_rejected(body)


@given(st.dictionaries(st.sampled_from(["op", "id", "list", "value", "position", "by"]), st.text() | st.integers()))
def test_random_objects(fields: dict[str, object]) -> None:
    """Random JSON objects are parsed or rejected."""
    assert parsed_or_rejected([json.dumps(fields).encode()])


@pytest.mark.parametrize(
    ("frames", "envelope", "body"),
    [
        ([b"id", b"", b"mostrar"], [b"id", b""], [b"mostrar"]),
        ([b"id", b"mostrar"], [b"id"], [b"mostrar"]),
        ([b"id", b""], [b"id", b""], []),
        ([b"id", b"", b""], [b"id", b""], [b""]),
        ([b"id", b"hop", b"", b"a", b"b"], [b"id", b"hop", b""], [b"a", b"b"]),
        ([b"id"], [b"id"], []),
        ([b"id", b"x" * 2000, b"", b"a"], [b"id"], [b"x" * 2000, b"", b"a"]),
        ([b"id", *[b"x"] * 20, b"", b"a"], [b"id"], [*[b"x"] * 20, b"", b"a"]),
    ],
)
def test_envelope_ends_at_the_first_empty_frame(frames: list[bytes], envelope: list[bytes], body: list[bytes]) -> None:
    """The envelope ends at the first empty frame, within its limits."""
    assert messages.split_envelope(frames) == (envelope, body)


def test_native_response_fields() -> None:
    """A native response has the result, and the length and version of the list."""
    outcome = Outcome("Elemento 'ç' adicionado.", "default", 3, 8, extra={"start": 0})
    assert json.loads(messages.encode_native(outcome, "x:1")) == {
        "id": "x:1",
        "ok": True,
        "text": "Elemento 'ç' adicionado.",
        "list": "default",
        "length": 3,
        "version": 8,
        "start": 0,
    }
    assert json.loads(messages.encode_native(Outcome("não", error="full"), "")) == {
        "ok": False,
        "error": "full",
        "text": "não",
        "list": "default",
        "length": 0,
        "version": 0,
    }


@pytest.mark.parametrize(
    ("name", "understood"),
    [
        ("compras", "compras"),
        ("Pressa\u0303o", "Pressão"),
        ("Pressão", "Pressão"),
        ("सूची", "सूची"),
        ("รายการซื้อ", "รายการซื้อ"),
        ("a.b-c_d", "a.b-c_d"),
        ("\u212b", "\u212b"),  # stays as it is: existing lists may have this name
    ],
)
def test_list_names_in_any_script(name: str, understood: str) -> None:
    """A list's name may be in any script, and is normalized."""
    request = json.dumps({"op": "show", "list": name}).encode()
    assert messages.parse([request], MAX_ELEMENT_BYTES).list == understood


@pytest.mark.parametrize(
    "name", ["", "a b", "\u0303a", "x" * 65, "e\u0301" * 65, "a\u0303" * 999_999, "a\u200db", "a\n"]
)
def test_invalid_list_name(name: str) -> None:
    """An invalid list name is rejected."""
    request = json.dumps({"op": "show", "list": name}, ensure_ascii=False).encode()
    with pytest.raises(RequestRejected, match="'list' deve ter de 1 a 64 letras"):
        messages.parse([request], 10**7)


@pytest.mark.parametrize(
    "text",
    [
        '{"op": "append", "value": "\\ud800"}',
        '{"op": "insert", "position": 1e3, "value": "x"}',
        '{"op": "insert", "position": 1e400, "value": "x"}',
        '{"op": "insert", "position": "1", "value": "x"}',
        '{"op": "insert", "position": true, "value": "x"}',
        '{"op": "insert", "position": 99999999999999999999999999, "value": "x"}',
        '{"op": "insert", "position": ' + "9" * 5000 + ', "value": "x"}',
        '{"op": "insert", "position": NaN, "value": "x"}',
        '{"op": "show", "start": -9223372036854775809}',
        '{"op": "append", "value": null}',
        '{"op": "append", "value": ' + "[" * 2000 + "]" * 2000 + "}",
        '{"op": "append", "value": "x",}',
        '{"op": "append", "value": "x"} {}',
        '{"op": ["append"]}',
        '{"op": {}}',
        '{"\\u006fp": "nonsense"}',
    ],
)
def test_json_with_wrong_types(text: str) -> None:
    """JSON with wrong types or syntax is rejected with a short sentence."""
    with pytest.raises(RequestRejected) as caught:
        messages.parse([text.encode()], 10_000)
    assert caught.value.text.startswith("Comando inválido")
    assert len(caught.value.text) < 250


def test_last_of_duplicate_members_counts() -> None:
    """Of duplicate JSON members the last one counts."""
    assert messages.parse([b'{"op": "append", "value": "a", "value": "b"}'], MAX_ELEMENT_BYTES).value == "b"
