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
MAX_INTEGER = 2**63 - 1  # of numbers on the wire
_MAX_ENVELOPE_FRAMES, _MAX_ENVELOPE_BYTES = (
    16,
    1024,
)  # frames and bytes of an envelope: what is sent back for every answer
_MAX_JSON_BYTES_PER_CHARACTER, _MAX_OVERHEAD_BYTES = (
    6,
    4096,
)  # bytes of a character as JSON may write it, and of all but the element
MAX_SHOWN_CHARACTERS = 200  # characters of an element in the text of a native answer: answers are remembered

_NAME = re.compile(r"[\w.-]{1,64}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")  # int() takes 1_0, too, and the digits of every script
_ID = re.compile(r"([0-9a-f]{32}):([1-9][0-9]{0,18})")
_ID_FIELD = re.compile(rb'"id"\s*:\s*"([0-9a-f]{32}:[0-9]{1,19})"')
_LEGACY_COMMANDS = {
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


class RequestRejected(Exception):
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


def split_envelope(frames: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Part what a ROUTER socket receives into envelope and body.

    The envelope goes before the answer again: who sent it, then, from a REQ socket, an empty delimiter.
    """
    if len(frames) == 3 and not frames[1]:  # nearly always
        return frames[:2], frames[2:]
    if b"" in frames[1:_MAX_ENVELOPE_FRAMES]:
        end = frames.index(b"", 1) + 1
        if sum(map(len, frames[:end])) <= _MAX_ENVELOPE_BYTES:
            return frames[:end], frames[end:]
    return frames[:1], frames[1:]


def parse(body: list[bytes], element_bytes: int) -> Request:
    """Read one message, whose element may have so many bytes. Raises Refused with what is wrong with it."""
    if len(body) > 1:
        raise RequestRejected("invalid", f"{INVALID}: a mensagem tem {len(body)} partes; deve ter uma só.")
    message = body[0] if body else b""
    if (
        len(message) > _MAX_JSON_BYTES_PER_CHARACTER * element_bytes + _MAX_OVERHEAD_BYTES
    ):  # not even looked at: that alone would take long
        raise RequestRejected("too_large", f"Elemento longo demais: a mensagem tem {len(message)} bytes.")
    if message[:1] == b"{":
        request = _parse_native(message)
    else:
        try:
            request = _parse_legacy(message.decode())
        except UnicodeDecodeError:
            raise RequestRejected("invalid", f"{INVALID}: a mensagem não é UTF-8.") from None
    if len(request.value) > element_bytes:
        told = f"{len(request.value)} caracteres; o máximo é {element_bytes} bytes"
        raise RequestRejected("too_large", f"Elemento longo demais: {told}.")
    return request


def identify_malformed(body: list[bytes]) -> Request:
    """Return what is known of a message that cannot be read: how its sender expects to be answered, and its id."""
    message = body[0] if body else b""
    request = Request("", native=message[:1] == b"{")
    if found := _ID_FIELD.search(message, 0, _MAX_OVERHEAD_BYTES):
        request.id = found[1].decode()
    return request


def encode_legacy(outcome: Outcome) -> bytes:
    """Return the sentence for a client of the original's."""
    return outcome.text.encode()


def encode_native(outcome: Outcome, id_: str) -> bytes:
    """Return the object for a native client."""
    return encode_json(response_fields(outcome, id_))


def encode_json(told: dict[str, Any]) -> bytes:
    """Return an object as it travels."""
    return orjson.dumps(told)


def response_fields(outcome: Outcome, id_: str) -> dict[str, Any]:
    """Return what a native answer tells."""
    head: dict[str, Any] = {"id": id_} if id_ else {}
    head["ok"] = not outcome.error
    if outcome.error:
        head["error"] = outcome.error
    head |= {"text": outcome.text, "list": outcome.list, "length": outcome.length, "version": outcome.version}
    return head | outcome.more


def parse_integer(word: str) -> int:
    """Return a whole number in ASCII digits. Raises ValueError."""
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word[:40]!r} is no whole number")
    return int(word)


def truncated(value: str) -> str:
    """Return an element as it appears in the sentence of a native answer; the original's clients get all of it."""
    return value if len(value) <= MAX_SHOWN_CHARACTERS else value[:MAX_SHOWN_CHARACTERS] + "…"


def _parse_legacy(text: str) -> Request:
    # Editors put a byte order mark before a text, programs in C a NUL behind it: neither is meant.
    words = text.removeprefix("\ufeff").rstrip("\0").split(None, 3)
    if not words:
        raise RequestRejected("invalid", f"{INVALID}: a mensagem está vazia.")
    command, arguments = words[0], words[1:]
    op = _LEGACY_COMMANDS.get(command)
    if op is None:
        raise RequestRejected("invalid", f"{INVALID}.")
    if len(arguments) < _USAGE.get(command, "").count(" "):
        raise RequestRejected("invalid", f"{INVALID}: uso: {_USAGE[command]}")
    request = Request(op)
    if op == "insert":
        request.position = _parse_position(arguments.pop(0))
    if op == "sort":
        request.descending = command == "ordenar_desc"
    elif arguments:
        request.value = arguments[0]  # as the original does: a native client can send elements with spaces
    return request


def _parse_position(word: str) -> int:
    try:
        position = parse_integer(word)
    except ValueError:
        position = -1
    if position < 0:  # which is a native client's way to count from the end
        raise RequestRejected("position", f"Posição inválida: {word[:40]}")
    return position


def _parse_native(message: bytes) -> Request:
    try:
        given = orjson.loads(message)
    except ValueError as error:
        raise RequestRejected("invalid", f"{INVALID}: JSON inválido ({str(error)[:100]}).") from None
    op = given.pop("op", None)
    if not isinstance(op, str) or op not in _FIELDS:
        raise RequestRejected("invalid", f"{INVALID}: 'op' deve ser uma de {', '.join(_FIELDS)}.")
    request = Request(op, native=True)
    allowed = _FIELDS[op]
    for name, value in given.items():
        check = allowed.get(name)
        if check is None:
            raise RequestRejected("invalid", f"{INVALID}: '{name[:40]}' não existe em '{op}'.")
        check(request, name, value)
    for name in _REQUIRED.get(op, ()):
        if name not in given:
            raise RequestRejected("invalid", f"{INVALID}: falta '{name}' em '{op}'.")
    return request


def _set_value(request: Request, name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise RequestRejected("invalid", f"{INVALID}: '{name}' deve ser um texto.")
    request.value = value


def _set_list(request: Request, name: str, value: Any) -> None:
    if isinstance(value, str) and not _NAME.fullmatch(value):
        value = _with_marks(value)
    if not isinstance(value, str) or not value:
        raise RequestRejected("invalid", f"{INVALID}: '{name}' deve ter de 1 a 64 letras, algarismos, '_', '.' ou '-'.")
    request.list = value


def _with_marks(name: str) -> str:
    """Return a name with combining marks, as scripts of India and decomposed letters have them, in its one form (NFC).

    Returns nothing for what is no name.
    """
    name = unicodedata.normalize("NFC", name[:256])
    marked = re.sub(".", lambda found: "_" if unicodedata.category(found[0])[0] == "M" else found[0], name)
    return name if _NAME.fullmatch(marked) and marked[0] == name[0] else ""


def _set_id(request: Request, name: str, value: Any) -> None:
    found = _ID.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[2]) > MAX_INTEGER or not int(found[1], 16):
        raise RequestRejected(
            "invalid", f"{INVALID}: '{name}' deve ser UUID:NÚMERO, o UUID em 32 algarismos hexadecimais."
        )
    request.id, request.client, request.number = value, found[1], int(found[2])


def _set_integer(request: Request, name: str, value: Any) -> None:
    # JSON's true would be a number to Python.
    if type(value) is not int or abs(value) > MAX_INTEGER:
        raise RequestRejected("invalid", f"{INVALID}: '{name}' deve ser um número inteiro.")
    setattr(request, name, value)


def _set_optional_integer(request: Request, name: str, value: Any) -> None:
    if value is not None:
        _set_integer(request, name, value)


def _set_descending(request: Request, name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise RequestRejected("invalid", f"{INVALID}: '{name}' deve ser true ou false.")
    request.descending = value


def _set_order(request: Request, name: str, value: Any) -> None:
    if value not in ORDERS:
        raise RequestRejected("invalid", f"{INVALID}: '{name}' deve ser {' ou '.join(ORDERS)}.")
    request.by = value


def _set_trace(request: Request, _set_list: str, value: Any) -> None:
    # A wrong one is no reason to refuse the request: whoever traces sees that the trace ends here.
    request.trace = trace_of(value) if isinstance(value, str) else ""


_COMMON = {"list": _set_list, "id": _set_id, "traceparent": _set_trace}
_FIELDS: dict[str, dict[str, Any]] = {
    "append": {**_COMMON, "value": _set_value},
    "insert": {**_COMMON, "position": _set_integer, "value": _set_value},
    "remove": {**_COMMON, "value": _set_value},
    "sort": {**_COMMON, "by": _set_order, "descending": _set_descending},
    "clear": _COMMON,
    "undo": _COMMON,
    "show": {**_COMMON, "start": _set_optional_integer, "stop": _set_optional_integer},
    "search": {**_COMMON, "value": _set_value},
    "changes": {**_COMMON, "since": _set_integer},
    "info": _COMMON,
    "lists": _COMMON,
}
_REQUIRED = {"append": ("value",), "insert": ("position", "value"), "remove": ("value",), "search": ("value",)}
