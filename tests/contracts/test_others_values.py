"""What a host takes from another one is never filled in with nothing: it is known, or the host keeps what it has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .checkout import PLAYBOOKS, ROOT, load, mappings, task_files

_OTHERS = re.compile(r"\bhostvars\b|\bgroups\b|\bansible_play_hosts|\bextract\b")
_FILLED = re.compile(r"\bdefault *[(=]|\bd *\(|\berrors *= *.ignore|\bignore_errors\b")

# Where nothing is as good as something, and why.
_MAY_BE_NOTHING = {
    "list_server_key": "with an empty one the role leaves the host what it has",
    "list_clients": "the role keeps the keys of a client that has none here",
    "__sensors": "a fleet without sensors has no two of the same name",
    "__sensors_all": "a fleet without sensors has no reading to be waited for",
    "that": "that there is nobody is the question",
}


def _strings(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in parsed YAML with the name of what it is the value of."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _strings(value, str(key))
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value, name)
    elif isinstance(node, str):
        yield name, node


def _files() -> list[Path]:
    described = [*(ROOT / "inventory").rglob("*.yml"), *(ROOT / "roles").glob("*/*/main.yml")]
    return sorted({*described, *task_files(), *PLAYBOOKS})


def _taken() -> list[tuple[str, str, str]]:
    """Return (file, name, text) of every value that is made of other hosts'."""
    texts = [(str(path.relative_to(ROOT)), *text) for path in _files() for text in _strings(load(path))]
    return [text for text in texts if _OTHERS.search(text[2]) and text[1] not in ("name", "description")]


def test_unknown_values_of_other_hosts() -> None:
    """An unknown value of another host is never replaced by an empty default."""
    filled = [text for text in _taken() if _FILLED.search(text[2])]
    assert len(_taken()) > 10
    assert {name for _, name, _ in filled} >= {"list_server_key", "list_clients"}  # they are seen
    assert [text for text in filled if text[1] not in _MAY_BE_NOTHING] == []


def test_templates_read_no_other_host() -> None:
    """No template reads variables of another host."""
    templates = [*(ROOT / "roles").glob("*/templates/*")]
    assert templates
    assert [path.name for path in templates if re.search(r"\bhostvars\b|\bgroups\b", path.read_text())] == []


def test_list_settings_without_a_server_key() -> None:
    """A host keeps its list settings while the server's key is unknown."""
    tasks = load(ROOT / "roles/list/tasks/client.yml")
    written, warning = (next(task for task in tasks if module in task) for module in _MODULES)
    assert (written["when"], warning["when"]) == (
        "list_server_key | length > 0",
        "list_server_key | length == 0",
    )


_MODULES = ("ansible.builtin.template", "ansible.builtin.debug")


def _client_settings() -> list[dict[str, Any]]:
    """Return the templates of what people's commands read on a host."""
    tasks = [mapping.get("ansible.builtin.template") for path in task_files() for mapping in mappings(load(path))]
    return [task for task in tasks if isinstance(task, dict) and re.match(r"(client|operator)\.env", str(task["src"]))]


@pytest.mark.parametrize("written", _client_settings(), ids=lambda written: written["dest"])
def test_client_settings_are_validated(written: dict[str, Any]) -> None:
    """Settings of client commands are validated by the code that reads them."""
    assert re.fullmatch(
        r"\{\{ _\w+_frota \}\} (list|images|peers) .*--env-file %s --check", written.get("validate", "")
    )


def test_plays_check_for_localhost() -> None:
    """Every playbook that needs localhost checks for it first."""
    # Those that take a fact from there, directly or by way of what they import.
    for name in ("site.yml", "playbooks/configure.yml", "playbooks/scale.yml"):
        first = ROOT / name
        while "import_playbook" in load(first)[0]:
            first = first.parent / load(first)[0]["import_playbook"]
        assert first.name == "require_localhost.yml", name
