"""A playbook is an operator's intent: site.yml is a table of contents, and the others can be found."""

import re
from pathlib import Path

import pytest

from .checkout import DOCUMENTS, PLAYBOOKS, ROOT, load
from .playing import run_playbooks

_IMPORT = "import_playbook"
each_playbook = pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)


def _imported(path: Path) -> set[Path]:
    """Return what a playbook imports, at whatever depth."""
    direct = {(path.parent / play[_IMPORT]).resolve() for play in load(path) or [] if _IMPORT in play}
    return direct.union(*map(_imported, direct))


def test_site_only_imports() -> None:
    """site.yml consists of imports."""
    site = load(ROOT / "site.yml")
    assert site
    assert [play for play in site if set(play) - {"name", "when"} != {_IMPORT}] == []


@pytest.mark.parametrize("path", [ROOT / "site.yml", *PLAYBOOKS], ids=lambda path: path.name)
def test_imported_playbooks_exist(path: Path) -> None:
    """Imported playbooks exist."""
    assert [str(playbook) for playbook in _imported(path) if not playbook.is_file()] == []


@each_playbook
def test_playbooks_are_documented(playbook: Path) -> None:
    """A playbook is part of site.yml, or named in the documents for operators."""
    places = [*DOCUMENTS, ROOT / "Makefile"]
    named = any(f"playbooks/{playbook.name}" in place.read_text(encoding="utf-8") for place in places)
    assert playbook in _imported(ROOT / "site.yml") or named


@each_playbook
def test_playbooks_begin_with_a_comment(playbook: Path) -> None:
    """A playbook begins with a comment that states its purpose."""
    assert re.match(r"---\n# \S.*[.:]\n", re.sub(r"(?<=\w)\n# ", " ", playbook.read_text(encoding="utf-8")))


_ON_A_FLEET = (
    *("configure", "rollback", "rotate_list_keys", "status", "verify"),
    *("backup_database", "restore_database"),
)


@pytest.mark.parametrize("name", _ON_A_FLEET)
def test_playbooks_on_a_fleet_require_one(name: str) -> None:
    """A playbook for an existing fleet rejects an inventory without hosts before its first play on hosts."""
    playbook = ROOT / f"playbooks/{name}.yml"
    checks = {"require_localhost.yml", "require_fleet.yml", "tags.yml"}
    first = next(place for place, play in enumerate(load(playbook)) if play.get(_IMPORT) not in checks)
    assert "require_fleet.yml" in [play[_IMPORT] for play in load(playbook)[:first]]


def test_empty_inventory_is_rejected() -> None:
    """Keys are not reported as rotated if the inventory has no hosts, as while AWS is unreachable."""
    [run] = run_playbooks(("playbooks/rotate_list_keys.yml", "-e", "rotate=all"), ANSIBLE_INVENTORY_ENABLED="host_list")
    assert run.status == 2
    assert "The inventory has no host of the fleet" in run.output
