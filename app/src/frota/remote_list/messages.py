"""What travels between the list's clients and its server: bytes to a request, an outcome to bytes. No I/O.

There are two ways to speak. The *original's* clients send a command of words in Portuguese, and are answered by a
sentence. *Native* clients send a JSON object and are answered by one; a server of the original's answers that as it
does any nonsense, `Comando inválido.`, and takes no harm.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

import orjson

from frota.core.trace import trace_of

DEFAULT_LIST = "default"
CHANGES = frozenset({"append", "insert", "remove", "sort", "clear", "undo"})
READS = frozenset({"show", "search", "info", "changes", "lists"})
ORDERS = ("text", "number")
INVALID = "Comando inválido"
GREATEST = 2**63 - 1  # of numbers on the wire
_MOST_HOPS, _LONGEST_ENVELOPE = 16, 1024  # frames and bytes of an envelope: what is sent back for every answer
_ESCAPED, _LONGEST_REST = 6, 4096  # bytes of a character as JSON may write it, and of all but the element
SHOWN = 200  # characters of an element in the text of a native answer: answers are remembered

_NAME = re.compile(r"[\w.-]{1,64}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")  # int() takes 1_0, too, and the digits of every script
_ID = re.compile(r"([0-9a-f]{32}):([1-9][0-9]{0,18})")
_WRITTEN_ID = re.compile(rb'"id"\s*:\s*"([0-9a-f]{32}:[0-9]{1,19})"')
_ORIGINAL = {
    "mostrar": "show",
    "append": "append",
    "insert": "insert",
    "remover": "remove",
    "pesquisar": "search",
    "ordenar_cresc": "sort",
    "ordenar_desc": "sort",
    "limpar": "clear",
}
_USAGE = {"append": "append X", "insert": "insert POS X", "remover": "remover X", "pesquisar": "pesquisar X"}


class Refused(Exception):
    """Why a request is not carried out: a code for programs, a sentence for people, and maybe a further one."""

    def __init__(self, code: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.hint = code, text, hint


@dataclass(init=False)
class Request:
    """What a client wants; `client` and `number` are its id, empty where there is none to tell a repetition by."""

    op: str
    list: str = DEFAULT_LIST
    value: str = ""
    position: int = 0
    start: int | None = None
    stop: int | None = None
    by: str = "text"
    descending: bool = False
    since: int = 0
    id: str = ""
    client: str = ""
    number: int = 0
    trace: str = ""
    native: bool = False

    def __init__(self, op: str, **fields: Any) -> None:
        self.op = op
        self.__dict__.update(fields)  # most are not given, and stay those of the class: there are very many requests


@dataclass(slots=True)
class Outcome:
    """What a request led to; `more` holds what belongs to its operation alone."""

    text: str
    list: str = DEFAULT_LIST
    length: int = 0
    version: int = 0
    error: str = ""
    more: dict[str, Any] = field(default_factory=dict)


def opened(frames: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Part what a ROUTER socket receives into envelope and body.

    The envelope goes before the answer again: who sent it, then, from a REQ socket, an empty delimiter.
    """
    if len(frames) == 3 and not frames[1]:  # nearly always
        return frames[:2], frames[2:]
    if b"" in frames[1:_MOST_HOPS]:
        end = frames.index(b"", 1) + 1
        if sum(map(len, frames[:end])) <= _LONGEST_ENVELOPE:
            return frames[:end], frames[end:]
    return frames[:1], frames[1:]


def parse(body: list[bytes], element_bytes: int) -> Request:
    """Read one message, whose element may have so many bytes. Raises Refused with what is wrong with it."""
    if len(body) > 1:
        raise Refused("invalid", f"{INVALID}: a mensagem tem {len(body)} partes; deve ter uma só.")
    message = body[0] if body else b""
    if len(message) > _ESCAPED * element_bytes + _LONGEST_REST:  # not even looked at: that alone would take long
        raise Refused("too_large", f"Elemento longo demais: a mensagem tem {len(message)} bytes.")
    if message[:1] == b"{":
        request = _native(message)
    else:
        try:
            request = _original(message.decode())
        except UnicodeDecodeError:
            raise Refused("invalid", f"{INVALID}: a mensagem não é UTF-8.") from None
    if len(request.value) > element_bytes:
        told = f"{len(request.value)} caracteres; o máximo é {element_bytes} bytes"
        raise Refused("too_large", f"Elemento longo demais: {told}.")
    return request


def refused(body: list[bytes]) -> Request:
    """Return what is known of a message that cannot be read: how its sender expects to be answered, and its id."""
    message = body[0] if body else b""
    request = Request("", native=message[:1] == b"{")
    if found := _WRITTEN_ID.search(message, 0, _LONGEST_REST):
        request.id = found[1].decode()
    return request


def print_original(outcome: Outcome) -> bytes:
    """Return the sentence for a client of the original's."""
    return outcome.text.encode()


def print_native(outcome: Outcome, id_: str) -> bytes:
    """Return the object for a native client."""
    return encoded(fields(outcome, id_))


def encoded(told: dict[str, Any]) -> bytes:
    """Return an object as it travels."""
    return orjson.dumps(told)


def fields(outcome: Outcome, id_: str) -> dict[str, Any]:
    """Return what a native answer tells."""
    head: dict[str, Any] = {"id": id_} if id_ else {}
    head["ok"] = not outcome.error
    if outcome.error:
        head["error"] = outcome.error
    head |= {"text": outcome.text, "list": outcome.list, "length": outcome.length, "version": outcome.version}
    return head | outcome.more


def whole(word: str) -> int:
    """Return a whole number in ASCII digits. Raises ValueError."""
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word[:40]!r} is no whole number")
    return int(word)


def shown(value: str) -> str:
    """Return an element as it appears in the sentence of a native answer; the original's clients get all of it."""
    return value if len(value) <= SHOWN else value[:SHOWN] + "…"


def _original(text: str) -> Request:
    # Editors put a byte order mark before a text, programs in C a NUL behind it: neither is meant.
    words = text.removeprefix("\ufeff").rstrip("\0").split(None, 3)
    if not words:
        raise Refused("invalid", f"{INVALID}: a mensagem está vazia.")
    command, arguments = words[0], words[1:]
    op = _ORIGINAL.get(command)
    if op is None:
        raise Refused("invalid", f"{INVALID}.")
    if len(arguments) < _USAGE.get(command, "").count(" "):
        raise Refused("invalid", f"{INVALID}: uso: {_USAGE[command]}")
    request = Request(op)
    if op == "insert":
        request.position = _position(arguments.pop(0))
    if op == "sort":
        request.descending = command == "ordenar_desc"
    elif arguments:
        request.value = arguments[0]  # as the original does: a native client can send elements with spaces
    return request


def _position(word: str) -> int:
    try:
        position = whole(word)
    except ValueError:
        position = -1
    if position < 0:  # which is a native client's way to count from the end
        raise Refused("position", f"Posição inválida: {word[:40]}")
    return position


def _native(message: bytes) -> Request:
    try:
        given = orjson.loads(message)
    except ValueError as error:
        raise Refused("invalid", f"{INVALID}: JSON inválido ({str(error)[:100]}).") from None
    op = given.pop("op", None)
    if not isinstance(op, str) or op not in _FIELDS:
        raise Refused("invalid", f"{INVALID}: 'op' deve ser uma de {', '.join(_FIELDS)}.")
    request = Request(op, native=True)
    allowed = _FIELDS[op]
    for name, value in given.items():
        check = allowed.get(name)
        if check is None:
            raise Refused("invalid", f"{INVALID}: '{name[:40]}' não existe em '{op}'.")
        check(request, name, value)
    for name in _REQUIRED.get(op, ()):
        if name not in given:
            raise Refused("invalid", f"{INVALID}: falta '{name}' em '{op}'.")
    return request


def _text(request: Request, name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise Refused("invalid", f"{INVALID}: '{name}' deve ser um texto.")
    request.value = value


def _name(request: Request, name: str, value: Any) -> None:
    if isinstance(value, str) and not _NAME.fullmatch(value):
        value = _with_marks(value)
    if not isinstance(value, str) or not value:
        raise Refused("invalid", f"{INVALID}: '{name}' deve ter de 1 a 64 letras, algarismos, '_', '.' ou '-'.")
    request.list = value


def _with_marks(name: str) -> str:
    """Return a name with combining marks, as scripts of India and decomposed letters have them, in its one form (NFC).

    Returns nothing for what is no name.
    """
    name = unicodedata.normalize("NFC", name[:256])
    marked = re.sub(".", lambda found: "_" if unicodedata.category(found[0])[0] == "M" else found[0], name)
    return name if _NAME.fullmatch(marked) and marked[0] == name[0] else ""


def _id(request: Request, name: str, value: Any) -> None:
    found = _ID.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[2]) > GREATEST or not int(found[1], 16):
        raise Refused("invalid", f"{INVALID}: '{name}' deve ser UUID:NÚMERO, o UUID em 32 algarismos hexadecimais.")
    request.id, request.client, request.number = value, found[1], int(found[2])


def _whole(request: Request, name: str, value: Any) -> None:
    # JSON's true would be a number to Python.
    if type(value) is not int or abs(value) > GREATEST:
        raise Refused("invalid", f"{INVALID}: '{name}' deve ser um número inteiro.")
    setattr(request, name, value)


def _whole_or_none(request: Request, name: str, value: Any) -> None:
    if value is not None:
        _whole(request, name, value)


def _flag(request: Request, name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise Refused("invalid", f"{INVALID}: '{name}' deve ser true ou false.")
    request.descending = value


def _order(request: Request, name: str, value: Any) -> None:
    if value not in ORDERS:
        raise Refused("invalid", f"{INVALID}: '{name}' deve ser {' ou '.join(ORDERS)}.")
    request.by = value


def _traceparent(request: Request, _name: str, value: Any) -> None:
    # A wrong one is no reason to refuse the request: whoever traces sees that the trace ends here.
    request.trace = trace_of(value) if isinstance(value, str) else ""


_COMMON = {"list": _name, "id": _id, "traceparent": _traceparent}
_FIELDS: dict[str, dict[str, Any]] = {
    "append": {**_COMMON, "value": _text},
    "insert": {**_COMMON, "position": _whole, "value": _text},
    "remove": {**_COMMON, "value": _text},
    "sort": {**_COMMON, "by": _order, "descending": _flag},
    "clear": _COMMON,
    "undo": _COMMON,
    "show": {**_COMMON, "start": _whole_or_none, "stop": _whole_or_none},
    "search": {**_COMMON, "value": _text},
    "changes": {**_COMMON, "since": _whole},
    "info": _COMMON,
    "lists": _COMMON,
}
_REQUIRED = {"append": ("value",), "insert": ("position", "value"), "remove": ("value",), "search": ("value",)}
