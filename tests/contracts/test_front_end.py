"""The page of the dashboard: what it is built from is locked, and what is in the package is built from it."""

import json
import re
import subprocess

import pytest

from .checkout import ROOT, tracked_files

_FOLDER = ROOT / "app" / "dashboard"
_STATIC = ROOT / "app" / "src" / "frota" / "observer" / "dashboard" / "static"


def test_packages_are_locked_without_addresses() -> None:
    """Every npm package has one version and a hash, and no address."""
    packages = json.loads((_FOLDER / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    own, *others = packages.values()
    assert len(others) > 5
    assert [one for one in others if not re.match(r"sha512-", one.get("integrity", ""))] == []
    assert [one for one in others if "resolved" in one] == []
    wanted = {**own["dependencies"], **own["devDependencies"]}
    assert {f"node_modules/{name}" for name in wanted} <= packages.keys()


def test_lock_is_of_the_package_file() -> None:
    """The lock describes the requirements of package.json."""
    declared = json.loads((_FOLDER / "package.json").read_text(encoding="utf-8"))
    locked = json.loads((_FOLDER / "package-lock.json").read_text(encoding="utf-8"))["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert locked[kind] == declared[kind]


def test_nothing_that_is_built_is_tracked() -> None:
    """Neither the built page nor packages of npm are in the repository."""
    folders = (_STATIC, *(_FOLDER / name for name in ("node_modules", "built", "dist")))
    assert [path for path in tracked_files() for folder in folders if path.is_relative_to(folder)] == []


@pytest.mark.skipif(not (_STATIC / ".sources").exists(), reason="the page is not built (make venv)")
def test_built_page_is_of_these_sources() -> None:
    """The page in the package is built from the sources of this checkout: `tools/front_end` has nothing to do."""
    done = subprocess.run([ROOT / "tools" / "front_end"], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
