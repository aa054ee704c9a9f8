"""`frota list menu`: the menu of the original's client, its texts and prompts, by hand or with scripted input."""

import io
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from frota.core.errors import ServerUnavailable
from frota.logs.log import printable
from frota.remote_list.client import legacy
from frota.remote_list.client.client import Answer, Client, InDoubt, tell
from frota.remote_list.messages import whole

TITLE = "Cliente ZeroMQ - Lista Remota"
CHOOSE = "Escolha uma opção: "
WRONG_CHOICE, ENDING, ANSWER = "Opção inválida.", "Saindo...", "[DEBUG] Resposta recebida do servidor: "
WRONG_POSITION = "Posição inválida: "
_NOTHING, _NO_TEXT = "Nada foi digitado.", "O que foi digitado não é UTF-8."


class Choice(NamedTuple):
    """One line of the menu: the request it stands for, and what it asks people for."""

    text: str
    op: str
    prompts: tuple[tuple[str, str], ...] = ()
    fields: Mapping[str, Any] = MappingProxyType({})


CHOICES = {
    "1": Choice("Mostrar lista atual", "show"),
    "2": Choice("Adicionar elemento (append)", "append", (("value", "Digite o elemento a adicionar: "),)),
    "3": Choice(
        "Inserir elemento em posição específica",
        "insert",
        (("position", "Posição onde inserir: "), ("value", "Elemento a inserir: ")),
    ),
    "4": Choice("Remover elemento", "remove", (("value", "Elemento a remover: "),)),
    "5": Choice("Pesquisar elemento", "search", (("value", "Elemento a pesquisar: "),)),
    "6": Choice("Ordenar lista (crescente)", "sort"),
    "7": Choice("Ordenar lista (decrescente)", "sort", fields={"descending": True}),
    "8": Choice("Limpar lista", "clear"),
}
_END = "9"


class Wrong(Exception):
    """What was typed cannot be sent: the line that says so."""


def run(client: Client) -> int:
    """Show the menu until its end is chosen or the input ends, which a script may do without a 9."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # what is no UTF-8 is told, below
    lines = [TITLE, *(f"{key} - {choice.text}" for key, choice in CHOICES.items()), f"{_END} - Sair"]
    try:
        _print(*lines)
        while (key := _typed(CHOOSE)) != _END:
            _chosen(client, CHOICES.get(key))
            _print("", *lines)
    except EOFError:
        pass
    _print(ENDING)
    return 0


def _chosen(client: Client, choice: Choice | None) -> None:
    if choice is None:
        return _print(WRONG_CHOICE)
    typed = {name: _typed(prompt) for name, prompt in choice.prompts}
    try:
        fields = dict(_fields(typed))
        answer = client.ask(choice.op, **choice.fields, **fields)
    except Wrong as wrong:
        return _print(str(wrong))
    except (ServerUnavailable, InDoubt, legacy.Cannot) as error:
        if not sys.stdin.isatty():  # the rest of a script relies on what was asked for before
            raise
        return tell(str(error))
    lines = [ANSWER + _shown(choice, answer), answer.hint]
    return _print(*map(printable, filter(None, lines)))


def _typed(prompt: str) -> str:
    """Return what is typed at a prompt. Raises EOFError."""
    if not sys.stdin:  # it was closed
        raise EOFError
    if not sys.stdin.isatty():  # input() forgets a Ctrl+C that comes while it writes the prompt
        print(prompt, end="", flush=True)
        prompt = ""
    return input(prompt).removeprefix("\ufeff").strip()  # Windows puts a byte order mark before what it pipes


def _fields(typed: dict[str, str]) -> Iterator[tuple[str, str | int]]:
    """Yield what was typed as a request's fields. Raises Wrong."""
    for name, text in typed.items():
        if not text:
            raise Wrong(_NOTHING)
        if not _is_utf8(text):
            raise Wrong(_NO_TEXT)
        yield name, _position(text) if name == "position" else text


def _position(text: str) -> int:
    """Read a position; here, as in the original, it is not counted from the end. Raises Wrong."""
    try:
        position = whole(text)
    except ValueError:
        position = -1
    if position < 0:
        raise Wrong(f"{ANSWER}{WRONG_POSITION}{printable(text[:40])}")  # what the server would say
    return position


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(choice: Choice, answer: Answer) -> str:
    """Return the original's sentence; its list is Python's own way to write one."""
    return repr(answer.fields["elements"]) if choice.op == "show" and answer.ok else answer.text


def _print(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)
