"""The legacy menu: its recorded session, and other input of people and scripts."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import TIMEOUT_S, reserved_port, run_frota, start_frota
from support.fake_list_server import fake_list_server, response_to
from support.legacy_list_server import legacy_server
from support.processes import read_until
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
    return run_frota(
        "list", "menu", "--port", port, *flags, stdin_data=typed if isinstance(typed, bytes) else typed.encode()
    )


def shown(*replies: str) -> str:
    """Return the expected output: the menu, the response to each choice, and the end."""
    return "\n".join(f"{_MENU}{answer}\n" for answer in replies) + f"\n{_MENU}Saindo...\n"


def debug(answer: str, prompts: str = "") -> str:
    return f"{prompts}[DEBUG] Resposta recebida do servidor: {answer}"


@pytest.fixture(params=["ours", "legacy"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    if request.param == "ours":
        with list_server(tmp_path) as server:
            yield server.port
    else:
        with legacy_server() as (port, _):
            yield port


def test_recorded_session(port: int) -> None:
    """The recorded session is reproduced byte for byte."""
    typed = "".join(f"{word}\n" for words, _, _ in _RECORDED for word in words) + "9\n"
    expected = shown(*(debug(answer, prompts) for _, prompts, answer in _RECORDED))
    done = menu(port, typed)
    assert done.stdout == expected
    assert (done.returncode, done.stderr) == (0, "")


def test_invalid_input_is_reported(port: int) -> None:
    """Invalid input is reported, and the menu goes on."""
    done = menu(port, b"0\n\n10\nappend x\n3\nx\ny\n3\n-1\ny\n3\n7\ny\n2\n \n2\n\xff\n 1 \n9\n")
    wrong = ["Opção inválida."] * 4
    positions = [debug(f"Posição inválida: {text}", _INSERT) for text in ("x", "-1", "7")]
    nothing = [_APPEND + "Nada foi digitado.", _APPEND + "O que foi digitado não é UTF-8."]
    assert done.stdout == shown(*wrong, *positions, *nothing, debug("[]"))
    assert (done.returncode, done.stderr) == (0, "")


def test_element_with_a_space(tmp_path: Path) -> None:
    """An element with a space is kept whole, and not sent to a legacy server, which would cut it."""
    with list_server(tmp_path) as server:
        done = menu(server.port, "2\na b\n1\n9\n")
    assert done.stdout == shown(debug("Elemento 'a b' adicionado.", _APPEND), debug("['a b']"))
    with legacy_server() as (port, received):
        done = menu(port, "2\na b\n1\n9\n")
    assert done.returncode == 1
    assert done.stderr.endswith("and an empty one would stop it\n")
    assert len(received) == 1


def test_end_of_input_ends_the_menu(port: int) -> None:
    """The end of the input ends the menu."""
    done = menu(port, "1")
    assert done.stdout == shown(debug("[]"))
    assert done.returncode == 0
    done = menu(port, "2\n")
    assert done.stdout == f"{_MENU}{_APPEND}Saindo...\n"
    assert done.returncode == 0


def test_script_ends_without_a_server() -> None:
    """With scripted input, an unavailable server ends the menu with one sentence."""
    with reserved_port() as port:
        done = menu(port, "2\n3\n1\n9\n", "--timeout", "0.3")
    assert done.stdout == _MENU + _APPEND
    assert done.returncode == 1
    assert done.stderr.startswith("frota: gave up after 0 s: no server listens at ")
    assert done.stderr.count("\n") == 1


def test_person_can_continue_without_a_server() -> None:
    """On a terminal, the menu goes on after an unavailable server."""
    terminal, stdin = os.openpty()
    with reserved_port() as port:
        words = ["list", "menu", "--port", port, "--timeout", "0.3"]
        process = start_frota(*words, stdin=stdin, stdout=-1, stderr=-1)
        os.write(terminal, b"1\n9\n")
        output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert output.decode() == f"{_MENU}\n{_MENU}Saindo...\n"
    assert errors.count(b"\n") == 1
    for end in (terminal, stdin):
        os.close(end)


@pytest.mark.parametrize("typed", [b"", b"1\n"], ids=["at a prompt", "while a request is under way"])
def test_ctrl_c_ends_the_menu(typed: bytes) -> None:
    """Ctrl-C ends the menu without a message."""
    with fake_list_server(lambda _: ready()) as server:
        process = start_frota("list", "menu", "--port", server.port, stdin=-1, stdout=-1, stderr=-1)
        assert process.stdin

        def ready() -> list[bytes]:
            process.send_signal(signal.SIGINT)
            return []

        process.stdin.write(typed)
        process.stdin.flush()
        read_until(process.stdout, _MENU.encode())
        if not typed:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert errors == b""


def test_control_characters_are_escaped() -> None:
    """Control characters in responses do not reach the terminal."""

    def handle(request: bytes) -> list[bytes]:
        evil: dict[str, Any] = {"text": "\x1b[2J\r\n\u202e", "elements": ["\x1b]0;x\x07", "a\nb"]}
        return [response_to(request, **evil)]

    with fake_list_server(handle) as server:
        done = menu(server.port, "1\n8\n9\n")
    first, second = debug(r"['\x1b]0;x\x07', 'a\nb']"), debug(r"\x1b[2J\r\n\u202e")
    assert done.stdout == shown(first, second)


def test_closed_standard_input() -> None:
    """A closed standard input ends the menu without a traceback."""
    process = start_frota("list", "menu", "--port", "1", stdout=-1, stderr=-1, preexec_fn=lambda: os.close(0))
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert (output.decode(), errors, process.returncode) == (
        f"{_MENU}Saindo...\n".replace("Escolha uma opção: ", ""),
        b"",
        0,
    )


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """A byte order mark before piped input is ignored."""
    with list_server(tmp_path) as server:
        done = menu(server.port, "\ufeff2\nx\n9\n")
        assert "Elemento 'x' adicionado." in done.stdout
        assert server.elements() == ["x"]
