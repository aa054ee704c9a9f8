"""Hints about elements that look like the requested one; native responses alone have them."""

from pathlib import Path

import pytest

from frota.list import lookalikes
from support import output, run_frota
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
def test_lookalike_gets_a_hint(element: str, value: str) -> None:
    """The hint names the position and both texts in ASCII."""
    hint = lookalikes.hint(value, ["other", element])
    assert hint.startswith("Dica: o elemento da posição 1 parece igual")
    assert ascii(element) in hint
    assert ascii(value) in hint
    assert hint.isprintable()


@pytest.mark.parametrize(
    ("element", "value"), [("pao", "pão"), ("PÃO", "pão"), ("", "x"), ("xy", "x"), ("\u0445", "x")]
)
def test_different_element_gets_no_hint(element: str, value: str) -> None:
    """An element that looks different gets no hint."""
    assert lookalikes.hint(value, [element]) == ""


def test_hint_is_bounded() -> None:
    """The search for a hint, and the hint, are bounded."""
    assert lookalikes.hint("x", ["y" * 2**20] * 10 + ["x "])
    assert lookalikes.hint("x", ["y"] * 10**6 + ["x "]) == ""
    assert len(lookalikes.hint("\U0001f600" * 999, ["\U0001f600" * 999 + " "])) < 1400


def test_only_native_responses_have_hints(tmp_path: Path) -> None:
    """Native responses have a hint, legacy ones keep their texts."""
    with list_server(tmp_path) as server, server.raw_client() as requester:
        requester.native("append", value="Pressa\u0303o")
        for op, text in (("search", "Não encontrado"), ("remove", "Elemento 'Pressão' não encontrado.")):
            answer = requester.native(op, value="Pressão", id=requester.next_id())
            assert (answer["ok"], answer["error"], answer["text"]) == (False, "not_found", text)
            assert "'Pressa\\u0303o'" in answer["hint"]
            assert (
                requester.native(op, value="Pressão", id=f"{requester.client}:{requester.number}") == answer
            )  # a repetition
            assert "hint" not in requester.native(op, value="pressão")
        assert requester.request("pesquisar Pressão".encode()) == "Não encontrado".encode()
        assert requester.request("remover Pressão".encode()) == "Elemento 'Pressão' não encontrado.".encode()
        assert requester.native("remove", value="Pressa\u0303o")["ok"]


def test_commands_and_menu_print_the_hint(tmp_path: Path) -> None:
    """The commands and the menu print the hint below the response."""
    with list_server(tmp_path) as server:
        server.native("append", value="pão ")
        done = run_frota("list", "search", "pão", "--port", server.port)
        assert done.returncode == 1
        first, second = done.stdout.splitlines()
        assert first == "Não encontrado"
        assert second.startswith("Dica: o elemento da posição 0 parece igual, mas está escrito 'p\\xe3o '")
        printed = output("list", "menu", "--port", server.port, stdin_data="4\npão\n9\n".encode())
        assert "[DEBUG] Resposta recebida do servidor: Elemento 'pão' não encontrado.\nDica: " in printed
