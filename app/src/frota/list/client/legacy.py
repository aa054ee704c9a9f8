"""The legacy server's protocol for our client: which requests it can execute, and what its responses mean."""

import ast
from collections.abc import Mapping
from typing import Any

from frota.core.errors import UnsupportedByServer
from frota.list.messages import CHANGES, DEFAULT_LIST

NOT_UNDERSTOOD = "Comando inválido."  # its response to anything but a command, JSON included
_WITH_VALUE = {"append": "append", "remove": "remover", "search": "pesquisar"}
_REJECTIONS = (NOT_UNDERSTOOD, "Posição inválida")


def command(request: Mapping[str, Any]) -> str:
    """Return the legacy command of a native request. Raises UnsupportedByServer."""
    op = request["op"]
    if request["list"] != DEFAULT_LIST:
        raise UnsupportedByServer(f"it has one list only, and none named {request['list']!r}")
    if op in _WITH_VALUE:
        return f"{_WITH_VALUE[op]} {_single_word(request['value'])}"
    if op == "insert":
        if request["position"] < 0:
            raise UnsupportedByServer("it does not count positions from the end")
        return f"insert {request['position']} {_single_word(request['value'])}"
    if op == "sort":
        if request.get("by", "text") != "text":
            raise UnsupportedByServer("it sorts by text only")
        return "ordenar_desc" if request.get("descending") else "ordenar_cresc"
    if op == "show" and (request.get("start") is not None or request.get("stop") is not None):
        raise UnsupportedByServer("it shows the whole list only")
    if op in ("show", "clear"):
        return {"show": "mostrar", "clear": "limpar"}[op]
    raise UnsupportedByServer(f"it has no operation {op!r}")


def parse_response(request: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the native response that a legacy sentence stands for."""
    fields = {"id": request["id"], "ok": True, "text": text, "list": DEFAULT_LIST}
    if request["op"] == "show":
        return fields | {"elements": _parse_elements(text), "start": 0}
    if text.startswith(_REJECTIONS):
        return fields | {"ok": False, "error": "position" if text.startswith("Posição") else "invalid"}
    if text == "Não encontrado" or text.endswith("não encontrado."):
        return fields | {"ok": False, "error": "not_found"}
    return fields


def is_change(request: Mapping[str, Any]) -> bool:
    """Tell whether a request must not be repeated: a legacy server would execute it twice."""
    return request["op"] in CHANGES


def _single_word(value: str) -> str:
    if value.split() != [value]:
        raise UnsupportedByServer(
            "an element must be one word: it would cut off the rest, and an empty one would stop it"
        )
    return value


def _parse_elements(text: str) -> list[str]:
    try:
        elements = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        elements = None
    if not isinstance(elements, list) or not all(isinstance(element, str) for element in elements):
        raise UnsupportedByServer(f"its list cannot be read: {text[:60]!r}")
    return elements
