"""The original's menu: its recorded session, and what people and scripts may type otherwise."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import PATIENCE, frota, ran, reserved_port
from support.fake_list_server import answered, fake
from support.legacy_list_server import original_server
from support.zmq_server import list_server

_MENU = """\
Cliente ZeroMQ - Lista Remota
1 - Mostrar lista atual
2 - Adicionar elemento (append)
3 - Inserir elemento em posição específica
4 - Remover elemento
5 - Pesquisar elemento
6 - Ordenar lista (crescente)
7 - Ordenar lista (decrescente)
8 - Limpar lista
9 - Sair
Escolha uma opção: """
_APPEND, _INSERT = "Digite o elemento a adicionar: ", "Posição onde inserir: Elemento a inserir: "
_REMOVE, _SEARCH = "Elemento a remover: ", "Elemento a pesquisar: "
# What is typed, the prompts that ask for it, and the answer.
_RECORDED: list[tuple[list[object], str, str]] = [
    *(([2, x], _APPEND, f"Elemento '{x}' adicionado.") for x in "3357935"),
    ([1], "", "['3', '3', '5', '7', '9', '3', '5']"),
    ([3, 4, 5], _INSERT, "Elemento '5' inserido na posição 4."),
    ([1], "", "['3', '3', '5', '7', '5', '9', '3', '5']"),
    ([4, 5], _REMOVE, "Elemento '5' removido."),
    ([5, 6], _SEARCH, "Não encontrado"),
    ([5, 9], _SEARCH, "Encontrado"),
    ([6], "", "Lista ordenada crescentemente."),
    ([1], "", "['3', '3', '3', '5', '5', '7', '9']"),
    ([7], "", "Lista ordenada decrescentemente."),
    ([1], "", "['9', '7', '5', '5', '3', '3', '3']"),
    ([8], "", "Lista limpa."),
    ([1], "", "[]"),
]


def menu(port: int, typed: str | bytes, *flags: str) -> "subprocess.CompletedProcess[str]":
    return ran("list", "menu", "--port", port, *flags, given=typed if isinstance(typed, bytes) else typed.encode())


def shown(*answers: str) -> str:
    """Return what is printed: the menu, what is said to each choice, and the end."""
    return "\n".join(f"{_MENU}{answer}\n" for answer in answers) + f"\n{_MENU}Saindo...\n"


def debug(answer: str, prompts: str = "") -> str:
    return f"{prompts}[DEBUG] Resposta recebida do servidor: {answer}"


@pytest.fixture(params=["ours", "original"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    if request.param == "ours":
        with list_server(tmp_path) as server:
            yield server.port
    else:
        with original_server() as (port, _):
            yield port


def test_the_recorded_session_is_reproduced_byte_for_byte(port: int) -> None:
    typed = "".join(f"{word}\n" for words, _, _ in _RECORDED for word in words) + "9\n"
    expected = shown(*(debug(answer, prompts) for _, prompts, answer in _RECORDED))
    done = menu(port, typed)
    assert done.stdout == expected
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_sent_is_said_and_the_menu_goes_on(port: int) -> None:
    done = menu(port, b"0\n\n10\nappend x\n3\nx\ny\n3\n-1\ny\n3\n7\ny\n2\n \n2\n\xff\n 1 \n9\n")
    wrong = ["Opção inválida."] * 4
    positions = [debug(f"Posição inválida: {text}", _INSERT) for text in ("x", "-1", "7")]
    nothing = [_APPEND + "Nada foi digitado.", _APPEND + "O que foi digitado não é UTF-8."]
    assert done.stdout == shown(*wrong, *positions, *nothing, debug("[]"))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_element_with_a_space_is_kept_whole_by_our_server_and_not_cut_by_an_original(tmp_path: Path) -> None:
    with list_server(tmp_path) as server:
        done = menu(server.port, "2\na b\n1\n9\n")
    assert done.stdout == shown(debug("Elemento 'a b' adicionado.", _APPEND), debug("['a b']"))
    with original_server() as (port, received):
        done = menu(port, "2\na b\n1\n9\n")
    assert done.returncode == 1
    assert done.stderr.endswith("and an empty one would stop it\n")
    assert len(received) == 1


def test_the_end_of_the_input_is_a_way_to_leave(port: int) -> None:
    done = menu(port, "1")
    assert done.stdout == shown(debug("[]"))
    assert done.returncode == 0
    done = menu(port, "2\n")
    assert done.stdout == f"{_MENU}{_APPEND}Saindo...\n"
    assert done.returncode == 0


def test_a_script_ends_with_one_sentence_where_no_server_answers() -> None:
    with reserved_port() as port:
        done = menu(port, "2\n3\n1\n9\n", "--patience", "0.3")
    assert done.stdout == _MENU + _APPEND
    assert done.returncode == 1
    assert done.stderr.startswith("frota: gave up after 0 s: nobody listens at ")
    assert done.stderr.count("\n") == 1


def test_a_person_can_go_on_where_no_server_answered() -> None:
    ours, theirs = os.openpty()
    with reserved_port() as port:
        words = ["list", "menu", "--port", port, "--patience", "0.3"]
        process = frota(*words, stdin=theirs, stdout=-1, stderr=-1)
        os.write(ours, b"1\n9\n")
        said, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert said.decode() == f"{_MENU}\n{_MENU}Saindo...\n"
    assert errors.count(b"\n") == 1
    for end in (ours, theirs):
        os.close(end)


@pytest.mark.parametrize("typed", [b"", b"1\n"], ids=["at a prompt", "while a request is under way"])
def test_ctrl_c_ends_the_menu_without_a_word(typed: bytes) -> None:
    with fake(lambda _: ready()) as server:
        process = frota("list", "menu", "--port", server.port, stdin=-1, stdout=-1, stderr=-1)
        assert process.stdin
        assert process.stdout

        def ready() -> list[bytes]:
            process.send_signal(signal.SIGINT)
            return []

        process.stdin.write(typed)
        process.stdin.flush()
        said = b""
        while not said.endswith(_MENU.encode()):
            said += process.stdout.read(1)
        if not typed:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors == b""


def test_nothing_in_an_answer_steers_the_terminal() -> None:
    def handle(request: bytes) -> list[bytes]:
        evil: dict[str, Any] = {"text": "\x1b[2J\r\n\u202e", "elements": ["\x1b]0;x\x07", "a\nb"]}
        return [answered(request, **evil)]

    with fake(handle) as server:
        done = menu(server.port, "1\n8\n9\n")
    first, second = debug(r"['\x1b]0;x\x07', 'a\nb']"), debug(r"\x1b[2J\r\n\u202e")
    assert done.stdout == shown(first, second)


def test_without_standard_input_there_is_nothing_to_do_and_no_traceback() -> None:
    process = frota("list", "menu", "--port", "1", stdout=-1, stderr=-1, preexec_fn=lambda: os.close(0))
    said, errors = process.communicate(timeout=PATIENCE)
    assert (said.decode(), errors, process.returncode) == (
        f"{_MENU}Saindo...\n".replace("Escolha uma opção: ", ""),
        b"",
        0,
    )


def test_a_byte_order_mark_before_what_is_piped_is_no_part_of_the_choice(tmp_path: Path) -> None:
    with list_server(tmp_path) as server:
        done = menu(server.port, "\ufeff2\nx\n9\n")
        assert "Elemento 'x' adicionado." in done.stdout
        assert server.elements() == ["x"]
