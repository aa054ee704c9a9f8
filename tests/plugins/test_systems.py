"""Which systems a run leaves out, given what was found on their hosts."""

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

_MEMBERS = {"sensors": ["a", "b"], "images": ["b", "c"], "certificates": ["localhost"]}
_NEEDS = {"images": ["certificates"]}
_ALIKE: dict[str, dict[str, list[str]]] = {
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
    assert systems.unchanged_systems(_ALIKE, _MEMBERS, _NEEDS) == ["certificates", "images", "sensors"]


def test_system_is_configured_on_all_hosts() -> None:
    """A difference on one host configures the system on all its hosts."""
    by_host = _ALIKE | {"a": {"sensors": ["a unit has stopped"]}}
    assert systems.unchanged_systems(by_host, _MEMBERS, _NEEDS) == ["certificates", "images"]


def test_unreachable_host_counts_as_different() -> None:
    """A host that did not answer counts as different."""
    by_host = {host: found for host, found in _ALIKE.items() if host != "c"}
    assert systems.unchanged_systems(by_host, _MEMBERS, _NEEDS) == ["certificates", "sensors"]


def test_dependent_system_is_configured() -> None:
    """A system is configured if one that it depends on differs."""
    by_host = _ALIKE | {"localhost": {"certificates": ["ca.crt is gone"]}}
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
    assert systems.differences_in_words(by_host) == ["sensors: x (a, b)", "sensors: y (a)"]


_PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {made: first, two_found: first}
    - &look
      fleet_systems: {root: ROOT, systems: [one, two]}
      register: before
    - ansible.builtin.set_fact: {made: second, two_found: second}
    - <<: *look
      register: after
    - ansible.builtin.copy:
        dest: ROOT/looks.json
        content: "{{ [before.hosts, after.hosts] | to_json }}"
"""


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Give what two looks of one run say of a system of other hosts and one of localhost; a fact changes in between."""
    folder = tmp_path_factory.mktemp("checkout")
    for role, group in (("one", "fleet"), ("two", "localhost")):
        description = folder / f"roles/{role}/meta/host_state.yml"
        description.parent.mkdir(parents=True)
        description.write_text(f"groups: [{group}]\n")
    hosts = {"host": {"one_release": "{{ hostvars.localhost.made }}"}}
    local = {"localhost": {"ansible_connection": "local"}}
    (folder / "hosts.yml").write_text(json.dumps({"fleet": {"hosts": hosts}, "local": {"hosts": local}}))
    (folder / "play.yml").write_text(_PLAY.replace("ROOT", str(folder)))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", f"{folder}/hosts.yml"]
    played = subprocess.run(
        [*command, f"{folder}/play.yml"], check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert played.returncode == 0, played.stdout + played.stderr
    found: list[dict[str, Any]] = json.loads((folder / "looks.json").read_text())
    return found


def test_inputs_include_values_of_other_hosts(
    looks: list[dict[str, Any]],
) -> None:
    """Inputs of a system include values that its hosts take from other hosts."""
    before, after = (look["host"]["one"]["inputs"] for look in looks)
    assert before != after


def test_inputs_exclude_facts(looks: list[dict[str, Any]]) -> None:
    """Facts that a run sets are no part of a system's inputs."""
    # Or the run that makes the stacks, which had none to begin with, would record what no later one finds.
    before, after = (look["localhost"]["two"]["inputs"] for look in looks)
    assert before == after
