"""What deployment keeps is counted, not aged: a clock that leaps ahead and back takes nothing that is wanted."""

import importlib.util
import os
import subprocess
import time
from pathlib import Path

from .checkout import ROOT, defaults

_SPEC = importlib.util.spec_from_file_location(
    "wheelhouse", ROOT / "roles" / "python_service" / "library" / "wheelhouse.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

_MONTH = 31 * 86400
_INSTALL = (ROOT / "roles/python_service/files/install_release.sh").read_text(encoding="utf-8")


def _archives(folder: Path, count: int, since: float) -> list[Path]:
    made = [folder / f"{number}.tar" for number in range(count)]
    for number, path in enumerate(made):
        path.touch()
        os.utime(path, (since + number, since + number))
    return made


def test_a_clock_that_leaps_ahead_by_years_takes_no_archive(tmp_path: Path) -> None:
    made = _archives(tmp_path, _MODULE.KEPT, time.time() - 40 * _MONTH)
    _MODULE.prune(tmp_path, made[:2])
    assert sorted(tmp_path.iterdir()) == sorted(made)


def test_the_archives_that_were_wanted_longest_ago_go_and_those_wanted_now_stay(tmp_path: Path) -> None:
    ahead = time.time() + _MONTH  # those in between were made while the clock was ahead
    made = _archives(tmp_path, _MODULE.KEPT + 3, ahead)
    _MODULE.prune(tmp_path, made[-1:])
    left = set(tmp_path.iterdir())
    assert made[-1] in left
    assert left >= set(made[-_MODULE.KEPT : -1])
    assert made[0] not in left


def test_journals_are_bounded_by_their_size_alone() -> None:
    assert defaults("base")["base_journal_max_age"] == "0"


def test_a_release_that_was_just_installed_is_the_newest_though_others_were_while_the_clock_was_ahead(
    tmp_path: Path,
) -> None:
    ahead = time.time() + _MONTH
    for number in range(4):
        ready = tmp_path / f"releases/{number}/ready"
        ready.parent.mkdir(parents=True)
        ready.touch()
        os.utime(ready, (ahead + number, ahead + number))
    target = tmp_path / "releases/new"
    target.mkdir()
    functions = _INSTALL[_INSTALL.index("make_newest() {") : _INSTALL.index("# The release in use")]
    subprocess.run(["sh", "-euc", f'{functions}\nready "$1"', "sh", str(target)], check=True)
    script = (ROOT / "roles/python_service/files/releases.sh").read_text(encoding="utf-8")
    (tmp_path / "current").symlink_to(target)
    listed = subprocess.run(
        ["sh", "-c", script, "sh", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert listed.split() == ["new", "new", "3", "2", "1", "0"]
