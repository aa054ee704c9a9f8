"""The checkout as data: its roles, playbooks and documents, parsed."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def tracked_files() -> list[Path]:
    """Return the files of the repository, those not yet added included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


DOCUMENTS = [path for path in tracked_files() if path.suffix == ".md"]


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """Reads the tags of Ansible and CloudFormation (!Ref, !Sub, !unsafe, …) as if they were not there."""


def _untagged(loader: _Loader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _untagged)


@cache
def load(path: Path) -> Any:
    """Parse a YAML file; one that is missing is empty."""
    return yaml.load(path.read_text(encoding="utf-8"), _Loader) if path.is_file() else {}


def entry_points(role: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return a role's declared inputs: entry point -> name -> type, required, description."""
    specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml").get("argument_specs", {})
    return {entry: spec.get("options") or {} for entry, spec in specs.items()}


def defaults(role: str) -> dict[str, Any]:
    """Return a role's defaults, as written."""
    return load(ROOT / "roles" / role / "defaults" / "main.yml") or {}


def task_files() -> list[Path]:
    """Return every file of tasks in the roles."""
    return sorted((ROOT / "roles").glob("*/tasks/*.yml"))


def mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in parsed YAML, however deep."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from mappings(child)


def inclusions() -> Iterator[tuple[Path, str, str]]:
    """Yield (file, role, entry point) for every role that a playbook, role or scenario takes in."""
    for path in [*PLAYBOOKS, *task_files(), *sorted((ROOT / "molecule").rglob("*.yml"))]:
        for mapping in mappings(load(path)):
            for module in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
                if module in mapping:
                    yield path, mapping[module]["name"], mapping[module].get("tasks_from", "main")
            for role in mapping.get("roles", []) if "hosts" in mapping else ():
                yield path, role if isinstance(role, str) else role.get("role", role.get("name")), "main"


def code_of(document: str) -> list[str]:
    """Return what a Markdown text shows as code: fenced and indented lines, and `inline` pieces."""
    fenced = re.findall(r"^( *)```\w*\n(.*?)^\1```", document, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^( *)```.*?^\1```", "", document, flags=re.MULTILINE | re.DOTALL)
    blocks = [line for _, block in fenced for line in block.replace("\\\n", " ").splitlines()]
    indented = re.findall(r"^(?: {4}|\t)(.+)", prose, re.MULTILINE)
    return [line.strip().removeprefix("$ ") for line in [*blocks, *indented, *re.findall(r"`([^`\n]+)`", prose)]]
