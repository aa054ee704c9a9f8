"""Fixtures: the templates, parsed by cfn-lint, so that `!Ref X` is `{"Ref": "X"}`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Template = dict[str, Any]
Resources = Callable[..., dict[str, Any]]

ORDER = ("network", "security", "security-images", "storage", "access", "hosts", "workers")


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
    """Return stack name -> template, in the order of creation."""
    return {name: _parse(folder / f"{name}.yml") for name in ORDER}


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


def _parse(path: Path) -> Template:
    from cfnlint.decode import decode  # type: ignore[import-untyped]  # slow: imported only here

    template, problems = decode(str(path))
    if template is None or problems:
        raise ValueError(f"{path.name} is not a template: {problems}")
    return dict(template)
