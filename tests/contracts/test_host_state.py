"""What roles say that they have on hosts, and the places that go by it."""

import re
from typing import Any

import pytest

from .checkout import PLAYBOOKS, ROLES, ROOT, load, mappings
from .test_stacks import _roles_of_instances

DESCRIBED: dict[str, Any] = {
    role: load(ROOT / "roles" / role / "meta/host_state.yml")
    for role in ROLES
    if (ROOT / "roles" / role / "meta/host_state.yml").exists()
}
_KEYS = {"groups", "needs", "uses", "sources", "paths", "units", "commands", "probes", "certificates"}
# Roles that others take in, and which those describe.
_PART_OF_OTHERS = {"python_service"}


def test_every_role_describes_its_state() -> None:
    """Every role of a system describes what it has on hosts."""
    assert set(ROLES) - set(DESCRIBED) == _PART_OF_OTHERS


@pytest.mark.parametrize("role", DESCRIBED)
def test_systems_declare_their_roles(role: str) -> None:
    """A system declares the roles it includes, so that their change is a change of the system."""
    tasks = [task for path in (ROOT / "roles" / role / "tasks").glob("*.yml") for task in mappings(load(path))]
    calls = [call for task in tasks for key, call in task.items() if re.search(r"(import|include)_role$", str(key))]
    taken_in = {call["name"] for call in calls} & _PART_OF_OTHERS
    # The release is installed beside it, in playbooks/prepare.yml.
    beside = {"python_service"} if role == "base" else set()
    assert set(DESCRIBED[role].get("uses", ())) == taken_in | beside


@pytest.mark.parametrize("role", DESCRIBED)
def test_descriptions_name_existing_things(role: str) -> None:
    """A description names existing files, groups and systems."""
    described = DESCRIBED[role]
    assert set(described) <= _KEYS
    assert set(described.get("needs", ())) <= set(DESCRIBED)
    assert set(described["groups"]) <= {*_roles_of_instances(), "fleet", "local", "embedded_aws", "localhost"}
    places = [*described.get("sources", ()), *(probe["code"] for probe in described.get("probes", ()))]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_groups_of_tags_and_comparison() -> None:
    """A system has the same groups for its tag and for the comparison of hosts."""
    tagged = load(ROOT / "playbooks/vars/tags.yml")["fleet_systems"]
    assert {role: sorted(DESCRIBED[role]["groups"]) for role in tagged} == {
        role: sorted(groups) for role, groups in tagged.items()
    }


@pytest.mark.parametrize("inventory", ["local", "aws"])
def test_every_system_can_be_skipped(inventory: str) -> None:
    """Each inventory has a group of unchanged hosts for every system."""
    groups = load(ROOT / "inventory" / inventory / "hosts.yml")
    assert {name for name in groups if name.startswith("unchanged_")} == {f"unchanged_{role}" for role in DESCRIBED}


def test_every_system_is_compared_once() -> None:
    """Playbooks compare every system exactly once."""
    compared = [
        task["compare_systems"] for path in PLAYBOOKS for task in mappings(load(path)) if "compare_systems" in task
    ]
    assert sorted(role for roles in compared for role in roles) == sorted(DESCRIBED)


def test_plays_exclude_unchanged_systems() -> None:
    """Every play that changes hosts excludes the hosts of unchanged systems."""
    names = (
        "provision",
        "embedded_aws",
        "hosts",
        "configure",
        "prepare",
        "images",
        "image_workers",
        "peers",
        "peer_workers",
        "observer",
        "cpu_agents",
        "verify",
    )
    plays = [play for name in names for play in load(ROOT / f"playbooks/{name}.yml") if "hosts" in play]
    always = {"Query AWS"}
    assert [play["name"] for play in plays if ":!unchanged_" not in play["hosts"]] == sorted(always)
