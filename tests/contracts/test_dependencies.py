"""What is installed is pinned and checked, and where from is the user's own business."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .checkout import ROOT, tracked_files

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
each_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)

# In parts, or this file would name them.
_REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("docker", "com"),
        ("quay", "io"),
        ("ghcr", "io"),
        ("gcr", "io"),
        ("galaxy", "ansible", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
    )
]


def _locked(lock: Path, python: str = "3.13") -> dict[str, str]:
    """Return the versions that a Python on Linux gets from a lock file, by normalised name."""
    lines = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==[^\\\n]+", lock.read_text(encoding="utf-8"), re.MULTILINE)
    place = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate(place)]
    assert len({_normal(pin.name) for pin in pins}) == len(pins)  # or an installation would refuse it
    return {_normal(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def _asked(text: str) -> list[str]:
    """Return the names of the requirements in a text, one a line."""
    lines = [line for line in text.splitlines() if line and line[0] not in "#-"]
    return [_normal(re.match(r"[\w.-]+", line)[0]) for line in lines]  # type: ignore[index]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@each_lock
def test_lock_files_pin_hashes(lock: Path) -> None:
    """Every requirement in a lock file is one version with its hashes."""
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    requirements = [part for part in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if part.strip()]
    pinned = re.compile(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; .*?)?( --hash=sha256:[0-9a-f]{64})+")
    assert requirements
    assert [requirement for requirement in requirements if not pinned.fullmatch(requirement)] == []


@each_lock
def test_lock_files_name_no_registry(lock: Path) -> None:
    """A lock file contains no URL and no index."""
    assert re.findall(r"https?:|index|find-links|trusted-host", lock.read_text(encoding="utf-8")) == []


@each_lock
def test_every_requirement_is_locked(lock: Path) -> None:
    """Every requirement of an .in file is in its lock file."""
    required = _asked(lock.with_suffix(".in").read_text(encoding="utf-8"))
    assert required
    assert set(required) - set(_locked(lock)) == set()


@pytest.mark.parametrize("lock", ["hosts", "control"])
def test_application_dependencies_are_locked(lock: str) -> None:
    """The application's dependencies are locked for hosts and control nodes."""
    project = tomllib.loads((ROOT / "app" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = _asked("\n".join(project["dependencies"]))
    assert needed
    assert set(needed) - set(_locked(ROOT / "requirements" / f"{lock}.txt")) == set()


@pytest.mark.parametrize(("python", "core"), [("3.11", "2.19"), ("3.12", "2.21"), ("3.13", "2.21"), ("3.14", "2.21")])
def test_newest_ansible_for_each_python(python: str, core: str) -> None:
    """Each Python of a control node gets the newest release line of Ansible that supports it."""
    for name in ("control", "dev"):
        assert _locked(ROOT / "requirements" / f"{name}.txt", python)["ansible-core"].startswith(f"{core}."), name


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("other", ["hosts", "dev"])
def test_same_versions_everywhere(other: str, python: str) -> None:
    """A package has the same version on hosts, in tests and on the control node."""
    control, locked = (_locked(ROOT / "requirements" / f"{name}.txt", python) for name in ("control", other))
    # pip is what installs, never what is imported.
    shared = control.keys() & locked.keys() - {"pip"}
    assert shared
    assert {name: (control[name], locked[name]) for name in shared if control[name] != locked[name]} == {}


def test_no_file_names_a_registry() -> None:
    """No tracked file contains the host name of a package registry."""
    names = re.compile("|".join(rf"\b{re.escape(host)}\b" for host in _REGISTRIES).encode())
    telling = [str(path.relative_to(ROOT)) for path in tracked_files() if names.search(path.read_bytes())]
    assert telling == []
