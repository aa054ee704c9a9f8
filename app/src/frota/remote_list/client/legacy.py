"""A server of the original's, as a client of ours sees it: which of our requests it can carry out, and what it says."""

import ast
from collections.abc import Mapping
from typing import Any

from frota.remote_list.messages import CHANGES, DEFAULT_LIST

NOT_UNDERSTOOD = "Comando inválido."  # what it says to anything but a command, JSON included
_WITH_VALUE = {"append": "append", "remove": "remover", "search": "pesquisar"}
_REFUSALS = (NOT_UNDERSTOOD, "Posição inválida")


class Cannot(OSError):
    """The server is one of the original's, and this is beyond it: says what."""


def command(request: Mapping[str, Any]) -> str:
    """Return the command that asks for the same as a native request. Raises Cannot."""
    op = request["op"]
    if request["list"] != DEFAULT_LIST:
        raise Cannot(f"it has one list, and none named {request['list']!r}")
    if op in _WITH_VALUE:
        return f"{_WITH_VALUE[op]} {_word(request['value'])}"
    if op == "insert":
        if request["position"] < 0:
            raise Cannot("it does not count positions from the end")
        return f"insert {request['position']} {_word(request['value'])}"
    if op == "sort":
        if request.get("by", "text") != "text":
            raise Cannot("it sorts by text only")
        return "ordenar_desc" if request.get("descending") else "ordenar_cresc"
    if op == "show" and (request.get("start") is not None or request.get("stop") is not None):
        raise Cannot("it shows the whole list only")
    if op in ("show", "clear"):
        return {"show": "mostrar", "clear": "limpar"}[op]
    raise Cannot(f"it knows no {op!r}")


def answer(request: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return what a native server would have answered, as far as the original's sentence tells it."""
    fields = {"id": request["id"], "ok": True, "text": text, "list": DEFAULT_LIST}
    if request["op"] == "show":
        return fields | {"elements": _elements(text), "start": 0}
    if text.startswith(_REFUSALS):
        return fields | {"ok": False, "error": "position" if text.startswith("Posição") else "invalid"}
    if text == "Não encontrado" or text.endswith("não encontrado."):
        return fields | {"ok": False, "error": "not_found"}
    return fields


def changes(request: Mapping[str, Any]) -> bool:
    """Tell whether a request must not be sent twice: the original's server tells no repetition from a new one."""
    return request["op"] in CHANGES


def _word(value: str) -> str:
    if value.split() != [value]:
        raise Cannot("an element must be one word: it would cut off what follows, and an empty one would stop it")
    return value


def _elements(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Cannot(f"its list cannot be read: {text[:60]!r}")
    return found
