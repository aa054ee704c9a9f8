"""Every event that a service logs is documented, under a name that says what happened."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from frota import cli
from frota.observer.trace.cli import EVENTS

_ROOT = Path(__file__).parents[2]
_SOURCE = _ROOT / "app" / "src" / "frota"
_DOCUMENT = _ROOT / "docs" / "events.md"
_LOGGING = {"record", "_record", "_reading"}  # functions that take a level and an event first


def _constants(node: ast.expr, function: ast.AST) -> Iterator[str]:
    """Give the strings that an argument may be: a constant, or what is assigned to its name in the same function."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.Name):
        for statement in ast.walk(function):
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple):
                names = [target.id for target in statement.targets[0].elts if isinstance(target, ast.Name)]
                if node.id in names and isinstance(statement.value, ast.Tuple):
                    yield from _constants(statement.value.elts[names.index(node.id)], function)


def _logged(tree: ast.AST) -> Iterator[str]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in _LOGGING and len(call.args) > 1:
                yield from _constants(call.args[1], function)
            elif name == "changed" and len(call.args) > 1:  # of a host of the CPU metrics
                yield from (f"host_{event}" for event in _constants(call.args[1], function))
            elif name == "RateLimiter":
                yield from _constants(call.args[0], function)


def events() -> set[str]:
    """Return the events of the whole source."""
    return {event for path in _SOURCE.rglob("*.py") for event in _logged(ast.parse(path.read_text(encoding="utf-8")))}


def _documented() -> set[str]:
    rows = re.findall(r"^\| (`.+?) \|", _DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {event for row in rows for event in re.findall(r"`([a-z_]+)`", row)}


def test_events_are_documented() -> None:
    """Every event is documented, and every documented event is logged."""
    assert {event for event in events() if not event.endswith("_suppressed")} == _documented()


def test_events_with_trace_ids() -> None:
    """`frota trace --last` knows systems by their names, and events that are logged."""
    assert EVENTS.keys() <= cli.SYSTEMS.keys()
    assert {event for names in EVENTS.values() for event in names} <= events()


def test_events_are_found_in_the_source() -> None:
    """The events of the test are read from the source."""
    assert {"sensor_stale", "host_connected", "threshold_cleared", "wrong_server", "requests_suppressed"} <= events()
