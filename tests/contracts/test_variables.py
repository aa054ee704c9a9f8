"""Whose variable is whose: inputs bear the role's name, and what a role registers for itself is read by no other."""

import re
from pathlib import Path

import pytest

from .checkout import PLAYBOOKS, ROLES, ROOT, entry_points, load, mappings

_PRIVATE = re.compile(r"\b__[a-z]\w*")


def _files() -> list[Path]:
    """Return all that Ansible reads variables in."""
    roles = [*(ROOT / "roles").glob("*/*/*.yml"), *(ROOT / "roles").glob("*/templates/*.j2")]
    return [*PLAYBOOKS, *(ROOT / "playbooks").glob("vars/*.yml"), *roles, *(ROOT / "inventory").rglob("*.yml")]


def _of_others(path: Path) -> set[str]:
    """Return the private variables in a file that neither the file itself nor, in a role, the role makes."""
    names = set(_PRIVATE.findall(path.read_text(encoding="utf-8")))
    made: set[str] = set()
    if path.suffix == ".yml":
        made = {str(name) for mapping in mappings(load(path)) for name in (*mapping, mapping.get("register"))}
    where = path.relative_to(ROOT).parts
    own = f"__{where[1]}_" if where[0] == "roles" else "__no_role"
    return {name for name in names - made if not name.startswith(own)}


def test_private_variables() -> None:
    """No private variable of a role or playbook is read by another one."""
    uses = {str(path.relative_to(ROOT)): names for path in _files() if (names := _of_others(path))}
    assert uses == {}


def test_constants_use_no_results() -> None:
    """A constant in a role's vars/ uses no registered result."""
    uses = {
        path.parts[-3]: names
        for path in (ROOT / "roles").glob("*/vars/*.yml")
        if (names := set(_PRIVATE.findall(path.read_text(encoding="utf-8"))))
    }
    assert uses == {}


@pytest.mark.parametrize("role", ROLES)
def test_inputs_are_prefixed(role: str) -> None:
    """Every input of a role begins with the name of the role."""
    inputs = {name for options in entry_points(role).values() for name in options}
    assert [name for name in inputs if not name.startswith(f"{role}_")] == []


def test_no_json_query() -> None:
    """No expression uses json_query, which needs the library jmespath."""
    files = [*_files(), *(ROOT / "molecule").rglob("*.yml")]
    assert [str(path) for path in files if re.search(r"json_query|jmespath", path.read_text(encoding="utf-8"))] == []
