"""Descriptions of systems, and which of them a run skips."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .modules import load_action

_FILE = Path(__file__).parents[2] / "plugins/filter/systems.py"
_SPEC = importlib.util.spec_from_file_location("systems", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
systems = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(systems)

_one_process = pytest.mark.xdist_group("systems")  # for all that use what Ansible starts for

_MEMBERS = {"sensors": ["a", "b"], "images": ["b", "c"], "certificates": ["localhost"]}
_NEEDS = {"images": ["certificates"]}
_UNCHANGED: dict[str, dict[str, list[str]]] = {
    "a": {"sensors": []},
    "b": {"sensors": [], "images": []},
    "c": {"images": []},
    "localhost": {"certificates": []},
}


fleet_systems = load_action("fleet_systems")


def test_hosts_of_a_system() -> None:
    """The hosts of a system are those of its groups; localhost counts as a group."""
    groups = {"all": ["a", "b", "localhost"], "broker": ["b"], "fleet": ["b", "a"]}
    assert fleet_systems.members_of(["broker", "fleet"], groups) == ["a", "b"]
    assert fleet_systems.members_of(["localhost"], groups) == ["localhost"]


def test_unknown_group_is_empty() -> None:
    """An unknown group has no hosts."""
    assert fleet_systems.members_of(["image_worker"], {"fleet": ["a"]}) == []


def test_unchanged_systems_are_skipped() -> None:
    """Systems without differences are skipped."""
    assert systems.unchanged_systems(_UNCHANGED, _MEMBERS, _NEEDS) == ["certificates", "images", "sensors"]


def test_system_is_configured_on_all_hosts() -> None:
    """A difference on one host configures the system on all its hosts."""
    by_host = _UNCHANGED | {"a": {"sensors": ["a unit has stopped"]}}
    assert systems.unchanged_systems(by_host, _MEMBERS, _NEEDS) == ["certificates", "images"]


def test_unreachable_host_counts_as_different() -> None:
    """A host that did not answer counts as different."""
    by_host = {host: differences for host, differences in _UNCHANGED.items() if host != "c"}
    assert systems.unchanged_systems(by_host, _MEMBERS, _NEEDS) == ["certificates", "sensors"]


def test_dependent_system_is_configured() -> None:
    """A system is configured if one that it depends on differs."""
    by_host = _UNCHANGED | {"localhost": {"certificates": ["ca.crt is gone"]}}
    assert systems.unchanged_systems(by_host, _MEMBERS, _NEEDS) == ["sensors"]


def test_settings_of_roles() -> None:
    """The settings of every role are read from its argument specs."""
    root = Path(__file__).parents[2]
    settings = systems.settings_of_roles(str(root))
    assert list(settings) == sorted(path.name for path in (root / "roles").iterdir())
    assert "sensors_max_connections" in settings["sensors"]


def test_common_differences_are_listed_once() -> None:
    """A difference that several hosts have is listed once."""
    by_host = {"a": {"sensors": ["x", "y"]}, "b": {"sensors": ["x"], "images": []}}
    assert systems.difference_lines(by_host) == ["sensors: x (a, b)", "sensors: y (a)"]


_PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {shared: first, two_fact: first}
    - &describe
      fleet_systems: {root: ROOT, systems: [one, two]}
      register: before
    - ansible.builtin.set_fact: {shared: second, two_fact: second}
    - <<: *describe
      register: after
    - ansible.builtin.copy:
        dest: ROOT/descriptions.json
        content: "{{ [before.hosts, after.hosts] | to_json }}"
"""


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return two descriptions of a system of a host and of one of localhost; facts change between them."""
    folder = tmp_path_factory.mktemp("checkout")
    for role, group in (("one", "fleet"), ("two", "localhost")):
        description = folder / f"roles/{role}/meta/host_state.yml"
        description.parent.mkdir(parents=True)
        description.write_text(f"groups: [{group}]\n")
    hosts = {"host": {"one_release": "{{ hostvars.localhost.shared }}"}}
    local = {"localhost": {"ansible_connection": "local"}}
    (folder / "hosts.yml").write_text(json.dumps({"fleet": {"hosts": hosts}, "local": {"hosts": local}}))
    (folder / "play.yml").write_text(_PLAY.replace("ROOT", str(folder)))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", f"{folder}/hosts.yml"]
    played = subprocess.run(
        [*command, f"{folder}/play.yml"], check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert played.returncode == 0, played.stdout + played.stderr
    described: list[dict[str, Any]] = json.loads((folder / "descriptions.json").read_text())
    return described


@_one_process
def test_inputs_include_values_of_other_hosts(
    descriptions: list[dict[str, Any]],
) -> None:
    """Inputs of a system include values that its hosts take from other hosts."""
    before, after = (described["host"]["one"]["inputs"] for described in descriptions)
    assert before != after


@_one_process
def test_inputs_exclude_facts(descriptions: list[dict[str, Any]]) -> None:
    """Facts that a run sets are no part of a system's inputs."""
    # Otherwise the run that creates the stacks would record inputs that no later run has.
    before, after = (described["localhost"]["two"]["inputs"] for described in descriptions)
    assert before == after
