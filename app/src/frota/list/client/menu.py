"""`frota list menu`: the legacy client's menu, with its texts and prompts, for people and for scripted input."""

import io
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from frota.core.errors import ServerUnavailable, UnsupportedByServer
from frota.list.client.client import Client, OutcomeUnknown, Response, warn
from frota.list.client.commands import InvalidInput
from frota.list.messages import parse_integer
from frota.logs.log import printable

TITLE = "Cliente ZeroMQ - Lista Remota"
CHOICE_PROMPT = "Escolha uma opção: "
INVALID_CHOICE, GOODBYE, RESPONSE_PREFIX = "Opção inválida.", "Saindo...", "[DEBUG] Resposta recebida do servidor: "
INVALID_POSITION = "Posição inválida: "
_EMPTY, _NOT_UTF8 = "Nada foi digitado.", "O que foi digitado não é UTF-8."


class Choice(NamedTuple):
    """A line of the menu: its request, and the prompts for the request's fields."""

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
_EXIT = "9"


def run(client: Client) -> int:
    """Show the menu until its last choice or the end of the input."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # _fields reports what is not UTF-8
    lines = [TITLE, *(f"{key} - {choice.text}" for key, choice in CHOICES.items()), f"{_EXIT} - Sair"]
    try:
        _print(*lines)
        while (key := _prompt(CHOICE_PROMPT)) != _EXIT:
            _run_choice(client, CHOICES.get(key))
            _print("", *lines)
    except EOFError:
        pass
    _print(GOODBYE)
    return 0


def _run_choice(client: Client, choice: Choice | None) -> None:
    if choice is None:
        return _print(INVALID_CHOICE)
    typed = {name: _prompt(prompt) for name, prompt in choice.prompts}
    try:
        fields = dict(_fields(typed))
        response = client.ask(choice.op, **choice.fields, **fields)
    except InvalidInput as error:
        return _print(str(error))
    except (ServerUnavailable, OutcomeUnknown, UnsupportedByServer) as error:
        if not sys.stdin.isatty():  # the rest of a script depends on it
            raise
        return warn(str(error))
    lines = [RESPONSE_PREFIX + _response_text(choice, response), response.hint]
    return _print(*map(printable, filter(None, lines)))


def _prompt(prompt: str) -> str:
    """Print a prompt and return the typed line. Raises EOFError."""
    if not sys.stdin:  # closed
        raise EOFError
    if not sys.stdin.isatty():  # input() loses a Ctrl-C that arrives while it writes the prompt
        print(prompt, end="", flush=True)
        prompt = ""
    return input(prompt).removeprefix("\ufeff").strip()  # Windows puts a byte order mark before piped input


def _fields(typed: dict[str, str]) -> Iterator[tuple[str, str | int]]:
    """Yield the fields of a request from the typed texts. Raises InvalidInput."""
    for name, text in typed.items():
        if not text:
            raise InvalidInput(_EMPTY)
        if not _is_utf8(text):
            raise InvalidInput(_NOT_UTF8)
        yield name, _position(text) if name == "position" else text


def _position(text: str) -> int:
    """Parse a position; as in the legacy client, it is not counted from the end. Raises InvalidInput."""
    try:
        position = parse_integer(text)
    except ValueError:
        position = -1
    if position < 0:
        raise InvalidInput(f"{RESPONSE_PREFIX}{INVALID_POSITION}{printable(text[:40])}")  # the server's text
    return position


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _response_text(choice: Choice, response: Response) -> str:
    """Return the legacy sentence; a list is written as Python's repr."""
    return repr(response.fields["elements"]) if choice.op == "show" and response.ok else response.text


def _print(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)
