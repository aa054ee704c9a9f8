"""A server of the original's, as a client of ours sees it: which of our requests it can carry out, and what it says."""

import ast
from collections.abc import Mapping
from typing import Any

from frota.remote_list.messages import CHANGES, DEFAULT_LIST

NOT_UNDERSTOOD = "Comando inválido."  # what it says to anything but a command, JSON included
_WITH_VALUE = {"append": "append", "remove": "remover", "search": "pesquisar"}
_REJECTIONS = (NOT_UNDERSTOOD, "Posição inválida")


class Unsupported(OSError):
    """The server is one of the original's, and this is beyond it: says what."""


def command(request: Mapping[str, Any]) -> str:
    """Return the command that asks for the same as a native request. Raises Cannot."""
    op = request["op"]
    if request["list"] != DEFAULT_LIST:
        raise Unsupported(f"it has one list, and none named {request['list']!r}")
    if op in _WITH_VALUE:
        return f"{_WITH_VALUE[op]} {_single_word(request['value'])}"
    if op == "insert":
        if request["position"] < 0:
            raise Unsupported("it does not count positions from the end")
        return f"insert {request['position']} {_single_word(request['value'])}"
    if op == "sort":
        if request.get("by", "text") != "text":
            raise Unsupported("it sorts by text only")
        return "ordenar_desc" if request.get("descending") else "ordenar_cresc"
    if op == "show" and (request.get("start") is not None or request.get("stop") is not None):
        raise Unsupported("it shows the whole list only")
    if op in ("show", "clear"):
        return {"show": "mostrar", "clear": "limpar"}[op]
    raise Unsupported(f"it knows no {op!r}")


def parse_response(request: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return what a native server would have answered, as far as the original's sentence tells it."""
    fields = {"id": request["id"], "ok": True, "text": text, "list": DEFAULT_LIST}
    if request["op"] == "show":
        return fields | {"elements": _parse_elements(text), "start": 0}
    if text.startswith(_REJECTIONS):
        return fields | {"ok": False, "error": "position" if text.startswith("Posição") else "invalid"}
    if text == "Não encontrado" or text.endswith("não encontrado."):
        return fields | {"ok": False, "error": "not_found"}
    return fields


def is_change(request: Mapping[str, Any]) -> bool:
    """Tell whether a request must not be sent twice: the original's server tells no repetition from a new one."""
    return request["op"] in CHANGES


def _single_word(value: str) -> str:
    if value.split() != [value]:
        raise Unsupported("an element must be one word: it would cut off what follows, and an empty one would stop it")
    return value


def _parse_elements(text: str) -> list[str]:
    try:
        elements = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        elements = None
    if not isinstance(elements, list) or not all(isinstance(element, str) for element in elements):
        raise Unsupported(f"its list cannot be read: {text[:60]!r}")
    return elements
