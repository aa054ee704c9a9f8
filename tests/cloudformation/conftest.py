"""Fixtures: the templates, parsed by cfn-lint, so that `!Ref X` is `{"Ref": "X"}`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

Template = dict[str, Any]
Resources = Callable[..., dict[str, Any]]

_ROLE = Path(__file__).parents[2] / "roles" / "stacks" / "vars" / "main.yml"
_VARIABLES = yaml.safe_load(_ROLE.read_text(encoding="utf-8"))
ORDER = {stack["name"]: stack for stack in _VARIABLES["_stacks_in_order"]}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of this folder in one process, which imports cfn-lint and parses the templates once."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("templates"))


@pytest.fixture(scope="session")
def folder() -> Path:
    """Return the folder of the templates."""
    return Path(__file__).parents[2] / "cloudformation"


@pytest.fixture(scope="session")
def stacks(folder: Path) -> dict[str, Template]:
    """Return stack name -> template, in the order of creation; with the names that the stack's parameters come from."""
    return {
        name: _named(_parse(folder / f"{_template_of(name)}.yml"), stack.get("given_as", {}))
        for name, stack in ORDER.items()
    }


@pytest.fixture(scope="session")
def templates(folder: Path) -> dict[str, Template]:
    """Return the name of each template -> the template, in the order of the first stack that has it."""
    return {name: _parse(folder / f"{name}.yml") for name in dict.fromkeys(map(_template_of, ORDER))}


def _template_of(stack: str) -> str:
    return str(ORDER[stack].get("template", stack))


@pytest.fixture(scope="session")
def resources(stacks: dict[str, Template]) -> Resources:
    """Return a function: resource types (none for all) -> dictionary of `stack.LogicalId` -> properties."""

    def of_types(*types: str) -> dict[str, Any]:
        return {
            f"{stack}.{name}": resource.get("Properties", {})
            for stack, template in stacks.items()
            for name, resource in template["Resources"].items()
            if not types or resource["Type"] in types
        }

    return of_types


def _named(tree: Any, names: dict[str, str]) -> Any:
    """Return a template with other names of its parameters; where the role passes a constant, with that."""
    if isinstance(tree, dict):
        if (name := names.get(tree.get("Ref", ""))) is not None:
            value = _VARIABLES["_stacks_values"].get(name, "{{")
            return {"Ref": name} if "{{" in value else value
        return {names.get(key, key): _named(value, names) for key, value in tree.items()}
    return [_named(branch, names) for branch in tree] if isinstance(tree, list) else tree


def _parse(path: Path) -> Template:
    from cfnlint.decode import decode  # type: ignore[import-untyped]  # slow: imported only here

    template, problems = decode(str(path))
    if template is None or problems:
        raise ValueError(f"{path.name} is not a template: {problems}")
    return dict(template)
