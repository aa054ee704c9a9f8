"""Tags: one for each phase and each system, which concern its hosts and no other; a misspelt one is refused."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .checkout import ROOT, load
from .playing import run_playbooks
from .test_stacks import _roles_of_instances

_KNOWN = load(ROOT / "playbooks/vars/tags.yml")
SYSTEMS: dict[str, list[str]] = _KNOWN["fleet_systems"]
PHASES: list[str] = _KNOWN["fleet_phases"]

# What every run does on all hosts, besides asking what it is for.
_EVERY_RUN = {
    "Check the tags",
    "Require localhost in the limit",
    "Compare every host with its description",
    "Drop the record of the systems to configure",
    "Record the state of the systems",
}

_WITHOUT_AWS = {"ANSIBLE_INVENTORY_ENABLED": "host_list"}  # its plugin takes longer to import than all the rest


class Play(NamedTuple):
    """A play as --list-tasks shows it: the groups of its hosts, its name, and the tags of each task that would run."""

    groups: set[str]
    name: str
    tasks: list[set[str]]


def _plays(listed: str) -> Iterator[Play]:
    for title, tasks in re.findall(r"^  play #\d+ (.*)\n    tasks:\n((?: {6}.*\n)*)", listed, re.MULTILINE):
        hosts, name = re.findall(r"^\((.*?)\): (.*?)\tTAGS:", title)[0]
        tags = [set(names.split(", ")) for names in re.findall(r"TAGS: \[(.*)\]$", tasks, re.MULTILINE)]
        groups = {group for group in hosts.split(":") if not group.startswith("!unchanged_")}
        yield Play(groups, name, tags)


def _listed() -> dict[str, list[Play]]:
    """Return the plays of site.yml in which something would run, by tag."""
    tags = [*PHASES, *SYSTEMS]
    runs = run_playbooks(*(("--list-tasks", "--tags", tag, "site.yml") for tag in tags), **_WITHOUT_AWS)
    assert [run.status for run in runs] == [0] * len(tags)
    return {tag: [play for play in _plays(run.output) if play.tasks] for tag, run in zip(tags, runs, strict=True)}


def _tags_in(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield the name and the tags of every play of a playbook, those that it imports included."""
    for play in load(path):
        if "import_playbook" in play:
            assert "tags" not in play, f"{path}: tags are those of the plays"
            yield from _tags_in(path.parent / play["import_playbook"])
        else:
            tags = play.get("tags", [])
            yield play["name"], {tags} if isinstance(tags, str) else set(tags)


def test_known_tags() -> None:
    """The known tags are those of the plays of site.yml."""
    carried = dict(_tags_in(ROOT / "site.yml"))
    assert [name for name, tags in carried.items() if not tags] == []
    assert set().union(*carried.values()) - {"always"} == {*PHASES, *SYSTEMS}


def test_groups_belong_to_systems() -> None:
    """Every group of instances belongs to one system; agents and uploaders run on every host."""
    of_systems = sorted(group for groups in SYSTEMS.values() for group in groups)
    assert of_systems == sorted([*_roles_of_instances(), "fleet", "fleet"])


def test_one_tag() -> None:
    """A run with one tag executes the plays with that tag, on their hosts."""
    # One test, for the lists are dear: whatever a run with a tag does is on the hosts of the tag.
    listed = _listed()
    for system, groups in SYSTEMS.items():
        assert _concerned(listed[system], "configure") - {"localhost"} == set(groups), system
        assert _concerned(listed[system], "verify") == set(groups), system
        assert _prepared(listed[system]) == set(groups), system
        others = [play for play in listed[system] if not play.groups <= {*groups, "localhost"}]
        assert {play.name for play in others} == _EVERY_RUN, system
    for phase in ("provision", "verify"):
        assert _concerned(listed[phase], phase), phase
        assert not _concerned(listed[phase], "configure"), phase
        assert _prepared(listed[phase]) == {"fleet", "!fleet"}, phase
    for phase in ("install", "configure"):
        assert _prepared(listed[phase]) == {"fleet"}, phase
        assert not _concerned(listed[phase], "provision") | _concerned(listed[phase], "verify"), phase
    assert not _concerned(listed["install"], "configure")
    assert _concerned(listed["configure"], "configure") - {"localhost"} == {
        group for groups in SYSTEMS.values() for group in groups
    }


def _concerned(plays: list[Play], tag: str) -> set[str]:
    """Return the groups of the plays with a task that carries a tag."""
    return {group for play in plays if any(tag in tags for tags in play.tasks) for group in play.groups}


def _prepared(plays: list[Play]) -> set[str]:
    """Return whose hosts are prepared."""
    return next(play.groups for play in plays if play.name == "Configure the base of every host")


_MISSPELT = [
    ("site.yml", "--tags", "sensor"),
    ("playbooks/verify.yml", "--skip-tags", "sensors,verfy"),
    ("playbooks/status.yml", "--tags", "image"),
]


def test_misspelt_tag() -> None:
    """A misspelt tag is rejected with the known ones; known tags are accepted."""
    names = [*PHASES, *SYSTEMS, "all", "tagged", "untagged", "always"]
    all_tags = ("playbooks/tags.yml", "--tags", ",".join(names), "--skip-tags", "never,sensors")
    *refused, accepted = run_playbooks(*_MISSPELT, all_tags, **_WITHOUT_AWS)
    for words, run in zip(_MISSPELT, refused, strict=True):
        assert run.status != 0, words
        wrong = words[-1].split(",")[-1]
        assert f"There is no tag {wrong}. Run this again with one or more of these" in run.output, words
        assert f": {', '.join([*PHASES, *SYSTEMS])}\n" in run.output, words
    assert accepted.status == 0, accepted.output
