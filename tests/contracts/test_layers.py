"""Which module may import which: downwards only, and no process the modules of another one."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "app" / "src"
SYSTEMS = ("cpu", "images", "list", "observer", "peers", "sensors")
# What several processes of a system share, and is no process.
SHARED = {
    *(f"frota.images.{folder}" for folder in ("proto", "broker", "s3", "converter")),
    *(f"frota.peers.{folder}" for folder in ("protocol", "lending", "database")),
}
# What shows all systems asks them as their clients and viewers do.
OBSERVER, CLIENTS = "frota.observer.", (".client", ".viewer")
LOWER = {"logs": (), "core": ("logs",), "net": ("core", "logs"), "storage": ("core", "logs")}


@cache
def modules() -> dict[str, Path]:
    """Return the file of each module."""
    names = {path: path.relative_to(SOURCE).with_suffix("").parts for path in SOURCE.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in names.items()}


@cache
def imports() -> dict[str, set[str]]:
    """Return the modules of ours that each module imports, also inside functions and for types alone."""
    return {name: set(imported(path)) - {name} for name, path in modules().items()}


def imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [member if member in modules() else node.module for member in members]
    return [name for name in names if name in modules()]


def folder(module: str) -> str:
    """Return the folder of a process that a module is in, "" for one that is in none."""
    parts = module.split(".")
    inside = len(parts) > 3 or modules()[module].name == "__init__.py"
    process = ".".join(parts[:3])
    return process if inside and len(parts) > 2 and parts[1] in SYSTEMS and process not in SHARED else ""


def pairs() -> list[tuple[str, str]]:
    return [(module, other) for module, others in imports().items() for other in others]


def test_no_import_circles() -> None:
    """Imports contain no circle."""
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_process_imports_nothing_of_another_process() -> None:
    """A system's commands may: they start every process of it."""
    crossing = [
        f"{module} imports {other}"
        for module, other in pairs()
        if folder(other) and folder(module) != folder(other) and not module.endswith(".cli")
        if not (module.startswith(OBSERVER) and folder(other).endswith(CLIENTS))
    ]
    assert crossing == []


def test_systems_are_independent() -> None:
    """A system imports nothing of another system, but the observer what clients and viewers of others are made of."""

    def system(module: str) -> str:
        return next((part for part in module.split(".")[1:2] if part in SYSTEMS), "")

    others = [pair for pair in pairs() if system(pair[1]) and system(pair[0]) != system(pair[1])]
    assert [pair for pair in others if not pair[0].startswith(OBSERVER)] == []


def test_shared_packages_import_no_system() -> None:
    """Shared packages import no system."""

    def layer(module: str) -> str:
        return ".".join(module.split(".")[1:2])

    wrong = [
        f"{module} imports {other}"
        for module, other in pairs()
        if layer(module) in LOWER and layer(other) not in (layer(module), *LOWER[layer(module)], "")
    ]
    assert wrong == []


def test_folders_are_small() -> None:
    """No folder has too many modules."""
    counts: dict[Path, int] = {}
    for path in modules().values():
        if path.name != "__init__.py" and not path.name.endswith("_pb2.py"):
            counts[path.parent] = counts.get(path.parent, 0) + 1
    assert {str(path): count for path, count in counts.items() if count > 13} == {}
