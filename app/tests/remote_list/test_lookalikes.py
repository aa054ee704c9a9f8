"""What looks like an element that is there without being one is pointed at, on the native way alone."""

from pathlib import Path

import pytest

from frota.remote_list import lookalikes
from support import output, ran
from support.zmq_server import list_server


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("Pressa\u0303o", "Pressão"),
        ("Pressão", "Pressa\u0303o"),
        ("pão ", "pão"),
        (" pão", "pão"),
        ("dois\u00a0pães", "dois pães"),
        ("dois  pães", "dois pães"),
        ("21º", "21o"),
        ("ﬁm", "fim"),
        ("\uff11\uff12", "12"),
        ("Ω", "Ω"),
        ("µm", "μm"),
        ("x\u200b", "x"),
        ("\ufeffx", "x"),
        ("x\0", "x"),
        ("x\r", "x"),
        ("à\u0323", "\u1ea1\u0300"),
        ("x", "x\u200b"),
    ],
)
def test_an_element_that_looks_the_same_is_pointed_at_with_what_tells_it_apart(element: str, value: str) -> None:
    hint = lookalikes.hint(value, ["other", element])
    assert hint.startswith("Dica: o elemento da posição 1 parece igual")
    assert ascii(element) in hint
    assert ascii(value) in hint
    assert hint.isprintable()


@pytest.mark.parametrize(
    ("element", "value"), [("pao", "pão"), ("PÃO", "pão"), ("", "x"), ("xy", "x"), ("\u0445", "x")]
)
def test_what_looks_otherwise_is_not_pointed_at(element: str, value: str) -> None:
    assert lookalikes.hint(value, [element]) == ""


def test_a_hint_is_short_and_costs_little_whatever_the_list_holds() -> None:
    assert lookalikes.hint("x", ["y" * 2**20] * 10 + ["x "])
    assert lookalikes.hint("x", ["y"] * 10**6 + ["x "]) == ""
    assert len(lookalikes.hint("\U0001f600" * 999, ["\U0001f600" * 999 + " "])) < 1400


def test_the_native_answers_have_a_hint_and_those_of_the_original_stay_as_they_were(tmp_path: Path) -> None:
    with list_server(tmp_path) as server, server.asking() as one:
        one.native("append", value="Pressa\u0303o")
        for op, text in (("search", "Não encontrado"), ("remove", "Elemento 'Pressão' não encontrado.")):
            answer = one.native(op, value="Pressão", id=one.next_id())
            assert (answer["ok"], answer["error"], answer["text"]) == (False, "not_found", text)
            assert "'Pressa\\u0303o'" in answer["hint"]
            assert one.native(op, value="Pressão", id=f"{one.client}:{one.number}") == answer  # a repetition
            assert "hint" not in one.native(op, value="pressão")
        assert one.ask("pesquisar Pressão".encode()) == "Não encontrado".encode()
        assert one.ask("remover Pressão".encode()) == "Elemento 'Pressão' não encontrado.".encode()
        assert one.native("remove", value="Pressa\u0303o")["ok"]


def test_commands_and_menu_show_the_hint_below_the_answer(tmp_path: Path) -> None:
    with list_server(tmp_path) as server:
        server.native("append", value="pão ")
        done = ran("list", "search", "pão", "--port", server.port)
        assert done.returncode == 1
        first, second = done.stdout.splitlines()
        assert first == "Não encontrado"
        assert second.startswith("Dica: o elemento da posição 0 parece igual, mas está escrito 'p\\xe3o '")
        said = output("list", "menu", "--port", server.port, given="4\npão\n9\n".encode())
        assert "[DEBUG] Resposta recebida do servidor: Elemento 'pão' não encontrado.\nDica: " in said
