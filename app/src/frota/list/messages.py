"""The protocols of the list: bytes to a request, an outcome to bytes. No I/O.

Legacy clients send a command in Portuguese words and get a sentence. Native clients send a JSON object and get one. A
legacy server answers a JSON object with `Comando inválido.`, by which a native client recognizes it.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

import orjson

from frota.core.errors import RequestRejected
from frota.core.trace import trace_of

DEFAULT_LIST = "default"
CHANGES = frozenset({"append", "insert", "remove", "sort", "clear", "undo"})
READS = frozenset({"show", "search", "info", "changes", "lists"})
ORDERS = ("text", "number")
INVALID = "Comando inválido"
MAX_INTEGER = 2**63 - 1  # what a native integer may be
_MAX_ENVELOPE_FRAMES, _MAX_ENVELOPE_BYTES = 16, 1024  # it is sent back with every response
_MAX_JSON_BYTES_PER_CHARACTER = 6  # \u00e7
_MAX_OVERHEAD_BYTES = 4096  # of all but the element
MAX_SHOWN_CHARACTERS = 200  # of an element in the text of a native response: responses are cached

_NAME = re.compile(r"[\w.-]{1,64}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")  # int() would accept 1_0 and the digits of every script
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


@dataclass(init=False)
class Request:
    """A parsed request; `client` and `number` are its idempotency key, empty without one."""

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
        self.__dict__.update(fields)  # the others are the class's: a request is created for every message


@dataclass(slots=True)
class Outcome:
    """The content of a response; `extra` has the fields that only its operation has."""

    text: str
    list: str = DEFAULT_LIST
    length: int = 0
    version: int = 0
    error: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def split_envelope(frames: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Split what a ROUTER socket receives into envelope and body.

    The envelope is sent before the response: the client's routing id and, for a REQ socket, an empty delimiter.
    """
    if len(frames) == 3 and not frames[1]:  # the common case
        return frames[:2], frames[2:]
    if b"" in frames[1:_MAX_ENVELOPE_FRAMES]:
        end = frames.index(b"", 1) + 1
        if sum(map(len, frames[:end])) <= _MAX_ENVELOPE_BYTES:
            return frames[:end], frames[end:]
    return frames[:1], frames[1:]


def parse(body: list[bytes], element_bytes: int) -> Request:
    """Parse one message, whose element has `element_bytes` at most. Raises RequestRejected."""
    if len(body) > 1:
        raise RequestRejected("invalid", f"{INVALID}: a mensagem tem {len(body)} partes; deve ter uma só.")
    message = body[0] if body else b""
    if len(message) > _MAX_JSON_BYTES_PER_CHARACTER * element_bytes + _MAX_OVERHEAD_BYTES:  # parsing it would take long
        raise RequestRejected("too_large", f"Elemento longo demais: a mensagem tem {len(message)} bytes.")
    if message[:1] == b"{":
        request = _parse_native(message)
    else:
        try:
            request = _parse_legacy(message.decode())
        except UnicodeDecodeError:
            raise RequestRejected("invalid", f"{INVALID}: a mensagem não é UTF-8.") from None
    if len(request.value) > element_bytes:
        size = f"{len(request.value)} caracteres; o máximo é {element_bytes} bytes"
        raise RequestRejected("too_large", f"Elemento longo demais: {size}.")
    return request


def identify_malformed(body: list[bytes]) -> Request:
    """Return what the response to a malformed message needs: its protocol and its id."""
    message = body[0] if body else b""
    request = Request("", native=message[:1] == b"{")
    if match := _ID_FIELD.search(message, 0, _MAX_OVERHEAD_BYTES):
        request.id = match[1].decode()
    return request


def encode_legacy(outcome: Outcome) -> bytes:
    """Return the response for a legacy client."""
    return outcome.text.encode()


def encode_native(outcome: Outcome, id_: str) -> bytes:
    """Return the response for a native client."""
    return encode_json(response_fields(outcome, id_))


def encode_json(content: dict[str, Any]) -> bytes:
    """Encode an object as JSON."""
    return orjson.dumps(content)


def response_fields(outcome: Outcome, id_: str) -> dict[str, Any]:
    """Return the fields of a native response."""
    head: dict[str, Any] = {"id": id_} if id_ else {}
    head["ok"] = not outcome.error
    if outcome.error:
        head["error"] = outcome.error
    head |= {"text": outcome.text, "list": outcome.list, "length": outcome.length, "version": outcome.version}
    return head | outcome.extra


def parse_integer(word: str) -> int:
    """Parse an integer in ASCII digits. Raises ValueError."""
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word[:40]!r} is not an integer")
    return int(word)


def truncated(value: str) -> str:
    """Return an element as the text of a native response quotes it; legacy responses quote all of it."""
    return value if len(value) <= MAX_SHOWN_CHARACTERS else value[:MAX_SHOWN_CHARACTERS] + "…"


def _parse_legacy(text: str) -> Request:
    # Editors put a byte order mark before a text, and C programs send the NUL at its end.
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
        request.value = arguments[0]  # as the legacy server does; native clients can send elements with spaces
    return request


def _parse_position(word: str) -> int:
    try:
        position = parse_integer(word)
    except ValueError:
        position = -1
    if position < 0:  # only native clients count from the end
        raise RequestRejected("position", f"Posição inválida: {word[:40]}")
    return position


def _parse_native(message: bytes) -> Request:
    try:
        fields = orjson.loads(message)
    except ValueError as error:
        raise RequestRejected("invalid", f"{INVALID}: JSON inválido ({str(error)[:100]}).") from None
    op = fields.pop("op", None)
    if not isinstance(op, str) or op not in _FIELDS:
        raise RequestRejected("invalid", f"{INVALID}: 'op' deve ser uma de {', '.join(_FIELDS)}.")
    request = Request(op, native=True)
    allowed = _FIELDS[op]
    for name, value in fields.items():
        check = allowed.get(name)
        if check is None:
            raise RequestRejected("invalid", f"{INVALID}: '{name[:40]}' não existe em '{op}'.")
        check(request, name, value)
    for name in _REQUIRED.get(op, ()):
        if name not in fields:
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
    """Return a name that has combining marks (scripts of India, decomposed letters) in NFC.

    Returns "" for an invalid name.
    """
    name = unicodedata.normalize("NFC", name[:256])
    marked = re.sub(".", lambda match: "_" if unicodedata.category(match[0])[0] == "M" else match[0], name)
    return name if _NAME.fullmatch(marked) and marked[0] == name[0] else ""


def _set_id(request: Request, name: str, value: Any) -> None:
    match = _ID.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > MAX_INTEGER or not int(match[1], 16):
        raise RequestRejected(
            "invalid", f"{INVALID}: '{name}' deve ser UUID:NÚMERO, o UUID em 32 algarismos hexadecimais."
        )
    request.id, request.client, request.number = value, match[1], int(match[2])


def _set_integer(request: Request, name: str, value: Any) -> None:
    # isinstance(True, int) is true.
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
    # An invalid trace id does not reject the request; the trace just ends here.
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
