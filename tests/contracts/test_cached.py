"""What the checkouts of a user share: virtual environments and caches of linters, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .checkout import ROOT


class _Checkout:
    """A checkout whose commands use the functions of tools/cached."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        folder.mkdir()

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, "XDG_CACHE_HOME": str(self.cache.parent)}
        command = ["sh", "-euc", f"home=/nonexistent; . {ROOT}/tools/cached; {script}"]
        return subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)

    def output(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_venv(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder / ".venv"], check=True)
        script = self.folder / ".venv/bin/prefix"
        script.write_text(f"#!{self.folder}/.venv/bin/python\nimport sys\nprint(sys.prefix)\n")
        script.chmod(0o755)


@pytest.fixture
def checkouts(tmp_path: Path) -> list[_Checkout]:
    return [_Checkout(tmp_path / name, tmp_path / "cache/frota") for name in ("one", "other")]


def test_environment_works_in_the_checkout_that_takes_it(checkouts: list[_Checkout]) -> None:
    """A taken environment and its scripts run from the new checkout, and the first one stays as it was."""
    one, other = checkouts
    one.make_venv()
    one.output("keep_venv venv-x .venv")
    other.output("take_venv venv-x .venv")
    for checkout in checkouts:
        assert checkout.output(".venv/bin/prefix") == f"{checkout.folder}/.venv\n"
    assert str(one.folder) not in (other.folder / ".venv/pyvenv.cfg").read_text()


def test_environment_that_replaces_another_leaves_nothing_of_it(checkouts: list[_Checkout]) -> None:
    """A taken environment replaces all files of the one before."""
    one, other = checkouts
    one.make_venv()
    one.output("keep_venv venv-x .venv")
    (other.folder / ".venv/lib").mkdir(parents=True)
    (other.folder / ".venv/lib/old.py").touch()
    other.output("take_venv venv-x .venv")
    assert not (other.folder / ".venv/lib/old.py").exists()
    assert [path.name for path in other.folder.iterdir()] == [".venv"]


def test_missing_entry_leaves_the_folder_as_it_is(checkouts: list[_Checkout]) -> None:
    """An environment that is not in the cache cannot be taken, and the present one still works."""
    one, _ = checkouts
    one.make_venv()
    assert one.run("take_venv venv-x .venv").returncode != 0
    assert one.output(".venv/bin/prefix") == f"{one.folder}/.venv\n"


def test_copies_are_independent(checkouts: list[_Checkout]) -> None:
    """A cache that is written in place, such as mypy's, is copied."""
    one, other = checkouts
    (one.folder / "types").mkdir()
    (one.folder / "types/db").write_text("kept")
    one.output("keep mypy-x types")
    other.output("take mypy-x types; printf changed >types/db")
    assert (one.cache / "mypy-x/db").read_text() == (one.folder / "types/db").read_text() == "kept"


def test_entry_is_replaced_as_a_whole(checkouts: list[_Checkout]) -> None:
    """A kept folder replaces the entry of its name, and nothing unfinished is left."""
    one, other = checkouts
    for checkout in checkouts:
        (checkout.folder / "types").mkdir()
        (checkout.folder / f"types/{checkout.folder.name}").touch()
        checkout.output("keep mypy-x types")
    assert [path.name for path in (other.cache / "mypy-x").iterdir()] == ["other"]
    assert [path.name for path in one.cache.iterdir()] == ["mypy-x"]


def test_only_the_entries_used_last_are_kept(checkouts: list[_Checkout]) -> None:
    """Of each kind, the four entries used last are kept."""
    one, _ = checkouts
    (one.folder / "types").mkdir()
    for number in range(6):
        one.output(f"keep mypy-{number} types")
        os.utime(one.cache / f"mypy-{number}", (number, number))
        (one.cache / "venv-x").mkdir(exist_ok=True)
    assert sorted(path.name for path in one.cache.iterdir()) == ["mypy-2", "mypy-3", "mypy-4", "mypy-5", "venv-x"]


def test_names_differ_by_content_and_python(checkouts: list[_Checkout]) -> None:
    """Any change of a lock, and another Python, has another entry."""
    one, _ = checkouts
    (one.folder / "lock").write_text("a==1")
    (one.folder / "python").write_text("#!/bin/sh\necho another\n")
    (one.folder / "python").chmod(0o755)
    first = one.output(f"name_of venv {sys.executable} lock")
    assert first.startswith("venv-")
    assert one.output(f"name_of venv {sys.executable} - <lock") == first
    assert one.output("name_of venv ./python lock") != first
    (one.folder / "lock").write_text("a==2")
    assert one.output(f"name_of venv {sys.executable} lock") != first


def test_without_a_home_the_cache_is_in_the_checkout(checkouts: list[_Checkout]) -> None:
    """If the cache cannot be written, it is in the checkout."""
    one, _ = checkouts
    one.cache.parent.write_text("no folder")
    assert one.output("echo $cache") == f"{one.folder}/.local/cache\n"
