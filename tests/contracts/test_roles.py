"""Every role declares what it takes, has a test of its own, and is explained somewhere."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from .checkout import DOCUMENTS, ROLES, ROOT, defaults, entry_points, inclusions, load, mappings, task_files

_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}
_SPEC = importlib.util.spec_from_file_location("readmes", ROOT / "tools" / "readmes.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_READMES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_READMES)
each_role = pytest.mark.parametrize("role", ROLES)


@each_role
def test_entry_points_have_tasks(role: str) -> None:
    """Every declared entry point of a role has a file of tasks."""
    declared = entry_points(role)
    missing = [entry for entry in declared if not (ROOT / "roles" / role / "tasks" / f"{entry}.yml").is_file()]
    assert declared, f"roles/{role}/meta/argument_specs.yml declares nothing"
    assert missing == []


def test_included_entry_points_are_declared() -> None:
    """Entry points that are included are declared."""
    included = list(inclusions())
    undeclared = [f"{path}: {role}, {entry}" for path, role, entry in included if entry not in entry_points(role)]
    assert included
    assert undeclared == []


@each_role
def test_entry_points_are_used(role: str) -> None:
    """Every declared entry point of a role is used."""
    assert set(entry_points(role)) - {entry for _, name, entry in inclusions() if name == role} == set()


@each_role
def test_optional_inputs_have_defaults(role: str) -> None:
    """Exactly the optional inputs of a role have defaults."""
    options = [item for entry in entry_points(role).values() for item in entry.items()]
    required = {name for name, option in options if option.get("required")}
    assert set(defaults(role)) == {name for name, _ in options} - required


@each_role
def test_defaults_are_valid(role: str) -> None:
    """A default has the declared type, and is one of the choices."""
    options = {name: option for entry in entry_points(role).values() for name, option in entry.items()}
    wrong = [name for name, value in defaults(role).items() if name in options and not _fits(options[name], value)]
    assert wrong == []


def _fits(option: dict[str, Any], value: Any) -> bool:
    if value is None or (isinstance(value, str) and "{{" in value):
        return True  # not given, or known only where it is used
    right_type = isinstance(value, _TYPES[option["type"]]) and (option["type"] == "bool" or not isinstance(value, bool))
    return right_type and value in option.get("choices", [value])


@each_role
def test_inputs_are_described(role: str) -> None:
    """Every input of a role is described by a sentence."""
    options = {name: option for entry in entry_points(role).values() for name, option in entry.items()}
    assert [name for name, option in options.items() if not str(option.get("description", "")).endswith(".")] == []


@each_role
def test_roles_have_scenarios(role: str) -> None:
    """Every role has a Molecule scenario of its name."""
    assert (ROOT / "molecule" / role / "molecule.yml").is_file()


def test_imported_scenarios() -> None:
    """A scenario that another one imports uses its own hosts, and imports none."""
    folders = [file.parent for file in sorted((ROOT / "molecule").glob("*/molecule.yml"))]
    imported = {folder.name: _imported(folder) for folder in folders if _imported(folder)}
    assert imported
    for name, playbooks in imported.items():
        scenarios = {path.split("/")[1] for path in playbooks if path.endswith("/verify.yml")}
        inventories = (ROOT / "molecule" / name / "molecule.yml").read_text(encoding="utf-8")
        assert scenarios.isdisjoint(imported), name  # nobody would run it, nor what it imports
        assert {f"../{scenario}/converge.yml" for scenario in scenarios} <= set(playbooks), name
        assert [used for used in scenarios if f"/molecule/{used}/inventory\n" not in inventories] == [], name


def _imported(folder: Path) -> list[str]:
    """Return the playbooks of other scenarios that a scenario imports."""
    plays = [play for file in sorted(folder.glob("*.yml")) for play in load(file) if isinstance(play, dict)]
    paths = [str(play.get("import_playbook")) for play in plays]
    return [path for path in paths if path.startswith("../") and not path.startswith(("../shared/", "../../"))]


@each_role
def test_role_readmes_are_current(role: str) -> None:
    """The README of a role is what tools/readmes.py generates."""
    folder = ROOT / "roles" / role
    assert (folder / "README.md").read_text() == _READMES.readme(folder), "run tools/run python tools/readmes.py"


@each_role
def test_roles_are_documented(role: str) -> None:
    """Every role is explained in the documents."""
    assert any(f"`{role}`" in text or f"roles/{role}" in text for text in (path.read_text() for path in DOCUMENTS))


@pytest.mark.parametrize("path", task_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_task_files_are_short(path: Path) -> None:
    """A file of tasks has at most 60 lines."""
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", sorted((ROOT / "inventory").glob("*/*.yml")), ids=lambda path: path.stem)
def test_inventory_variables(path: Path) -> None:
    """An inventory variable with a role's prefix is an input of that role."""
    inputs = {name for role in ROLES for options in entry_points(role).values() for name in options}
    variables = {name for mapping in mappings(load(path)) for name in mapping}
    assert {name for name in variables if name.startswith(tuple(f"{role}_" for role in ROLES))} - inputs == set()
