"""What is understood of what travels, and what is answered to the rest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.remote_list import messages
from frota.remote_list.messages import Outcome, Request, RequestRejected

CLIENT = "0123456789abcdef" * 2
MOST = 1000


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
def test_the_commands_of_the_original_are_understood(text: str, request_: Request) -> None:
    assert messages.parse([text.encode()], MOST) == request_


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
def test_what_makes_no_sense_is_refused_with_what_is_wrong(body: list[bytes], sentence: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        messages.parse(body, MOST)
    assert caught.value.text == sentence


def test_a_native_request_may_say_everything_that_its_operation_takes() -> None:
    given_ = {"op": "insert", "list": "compras", "value": "a b", "position": -1, "id": f"{CLIENT}:7"}
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    found = messages.parse([json.dumps({**given_, "traceparent": trace}).encode()], MOST)
    wanted = Request("insert", list="compras", value="a b", position=-1, id=f"{CLIENT}:7")
    wanted.client, wanted.number, wanted.trace, wanted.native = CLIENT, 7, "ab" * 16, True
    assert found == wanted


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
def test_a_native_request_that_is_wrong_is_refused_and_answered_as_one(text: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        messages.parse([text.encode()], MOST)
    assert caught.value.text.startswith(("Comando inválido: ", "Elemento longo demais: "))
    assert len(caught.value.text) < 300
    assert messages.identify_malformed([text.encode()]).native


def test_a_wrong_request_that_has_an_id_is_answered_with_it() -> None:
    assert messages.identify_malformed([f'{{"op": "drop", "id": "{CLIENT}:1"}}'.encode()]).id == f"{CLIENT}:1"


def test_a_trace_that_is_none_is_no_reason_to_refuse_a_request() -> None:
    assert messages.parse([b'{"op": "show", "traceparent": "x"}'], MOST).trace == ""


def understood_or_refused(body: list[bytes]) -> str:
    """Return the operation, or the sentence that is answered."""
    try:
        return messages.parse(body, MOST).op
    except RequestRejected as error:
        messages.identify_malformed(body)
        return error.text


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_whatever_comes_is_understood_or_refused(body: list[bytes]) -> None:
    assert understood_or_refused(body)


@given(st.dictionaries(st.sampled_from(["op", "id", "list", "value", "position", "by"]), st.text() | st.integers()))
def test_whatever_object_comes_is_understood_or_refused(fields: dict[str, object]) -> None:
    assert understood_or_refused([json.dumps(fields).encode()])


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
def test_the_envelope_goes_to_the_first_empty_frame(
    frames: list[bytes], envelope: list[bytes], body: list[bytes]
) -> None:
    assert messages.split_envelope(frames) == (envelope, body)


def test_a_native_answer_tells_whether_it_was_done_and_how_the_list_is_now() -> None:
    outcome = Outcome("Elemento 'ç' adicionado.", "default", 3, 8, more={"start": 0})
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
        ("\u212b", "\u212b"),  # was one before, and lists have kept it
    ],
)
def test_a_list_may_have_a_name_in_any_script_and_is_one_however_it_is_composed(name: str, understood: str) -> None:
    asked = json.dumps({"op": "show", "list": name}).encode()
    assert messages.parse([asked], MOST).list == understood


@pytest.mark.parametrize(
    "name", ["", "a b", "\u0303a", "x" * 65, "e\u0301" * 65, "a\u0303" * 999_999, "a\u200db", "a\n"]
)
def test_what_is_no_name_of_a_list_is_refused_as_one(name: str) -> None:
    asked = json.dumps({"op": "show", "list": name}, ensure_ascii=False).encode()
    with pytest.raises(RequestRejected, match="'list' deve ter de 1 a 64 letras"):
        messages.parse([asked], 10**7)


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
def test_json_that_asks_for_nothing_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        messages.parse([text.encode()], 10_000)
    assert caught.value.text.startswith("Comando inválido")
    assert len(caught.value.text) < 250


def test_of_a_member_that_is_there_twice_the_last_counts_as_everywhere() -> None:
    assert messages.parse([b'{"op": "append", "value": "a", "value": "b"}'], MOST).value == "b"
