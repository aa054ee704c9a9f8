"""Which systems a run leaves out, given what was found on their hosts."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

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


def test_the_hosts_of_a_system_are_those_of_its_groups_and_the_control_node() -> None:
    groups = {"all": ["a", "b", "localhost"], "broker": ["b"], "fleet": ["b", "a"]}
    assert fleet_systems.members_of(["broker", "fleet"], groups) == ["a", "b"]
    assert fleet_systems.members_of(["localhost"], groups) == ["localhost"]


def test_a_group_without_hosts_has_none() -> None:
    assert fleet_systems.members_of(["image_worker"], {"fleet": ["a"]}) == []


def test_systems_of_which_nothing_differs_are_left_out() -> None:
    assert systems.unchanged_systems(_ALIKE, _MEMBERS, _NEEDS) == ["certificates", "images", "sensors"]


def test_a_system_is_gone_through_on_all_hosts_or_on_none() -> None:
    looked = _ALIKE | {"a": {"sensors": ["a unit has stopped"]}}
    assert systems.unchanged_systems(looked, _MEMBERS, _NEEDS) == ["certificates", "images"]


def test_a_host_that_does_not_answer_may_have_anything() -> None:
    looked = {host: found for host, found in _ALIKE.items() if host != "c"}
    assert systems.unchanged_systems(looked, _MEMBERS, _NEEDS) == ["certificates", "sensors"]


def test_a_system_whose_need_differs_is_gone_through() -> None:
    looked = _ALIKE | {"localhost": {"certificates": ["ca.crt is gone"]}}
    assert systems.unchanged_systems(looked, _MEMBERS, _NEEDS) == ["sensors"]


def test_the_settings_of_every_role_are_known() -> None:
    root = Path(__file__).parents[2]
    settings = systems.settings_of_roles(str(root))
    assert list(settings) == sorted(path.name for path in (root / "roles").iterdir())
    assert "sensors_max_connections" in settings["sensors"]


def test_differences_that_hosts_have_in_common_are_told_once() -> None:
    looked = {"a": {"sensors": ["x", "y"]}, "b": {"sensors": ["x"], "images": []}}
    assert systems.differences_in_words(looked) == ["sensors: x (a, b)", "sensors: y (a)"]


_PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {made: first}
    - &look
      fleet_systems: {root: ROOT, systems: [one]}
      register: before
    - ansible.builtin.set_fact: {made: second}
    - <<: *look
      register: after
    - ansible.builtin.copy:
        dest: ROOT/inputs
        content: "{{ before.hosts.host.one.inputs }} {{ after.hosts.host.one.inputs }}"
"""


def test_a_value_that_a_host_takes_from_another_is_part_of_what_describes_its_systems(tmp_path: Path) -> None:
    description = tmp_path / "roles/one/meta/host_state.yml"
    description.parent.mkdir(parents=True)
    description.write_text("groups: [fleet]\n")
    hosts = {"host": {"one_release": "{{ hostvars.localhost.made }}"}}
    (tmp_path / "hosts.yml").write_text(json.dumps({"fleet": {"hosts": hosts}}))
    (tmp_path / "play.yml").write_text(_PLAY.replace("ROOT", str(tmp_path)))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", f"{tmp_path}/hosts.yml"]
    played = subprocess.run(
        [*command, f"{tmp_path}/play.yml"], check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert played.returncode == 0, played.stdout + played.stderr
    before, after = (tmp_path / "inputs").read_text().split()
    assert before != after
