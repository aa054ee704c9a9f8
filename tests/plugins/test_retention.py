"""Retention counts archives and releases instead of their age, so that a clock that jumps ahead deletes nothing."""

import os
import time
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from .modules import load

_WHEELHOUSE, _RELEASE = load("wheelhouse"), load("release")

_ROLES = Path(__file__).parents[2] / "roles"
_MONTH_S = 31 * 86400


def _archives(folder: Path, count: int, since: float) -> list[Path]:
    archives = [folder / f"{number}.tar" for number in range(count)]
    for number, path in enumerate(archives):
        path.touch()
        os.utime(path, (since + number, since + number))
    return archives


def test_clock_ahead_deletes_no_archive(tmp_path: Path) -> None:
    """A clock that jumps years ahead deletes no archive."""
    archives = _archives(tmp_path, _WHEELHOUSE.KEPT_ARCHIVES, time.time() - 40 * _MONTH_S)
    _WHEELHOUSE.prune(tmp_path, archives[:2])
    assert sorted(tmp_path.iterdir()) == sorted(archives)


def test_least_recently_used_archives_are_deleted(tmp_path: Path) -> None:
    """The archives that were used last are kept, even if their times are in the future."""
    ahead = time.time() + _MONTH_S  # the clock was ahead when they were created
    archives = _archives(tmp_path, _WHEELHOUSE.KEPT_ARCHIVES + 3, ahead)
    _WHEELHOUSE.prune(tmp_path, archives[-1:])
    remaining = set(tmp_path.iterdir())
    assert archives[-1] in remaining
    assert remaining >= set(archives[-_WHEELHOUSE.KEPT_ARCHIVES : -1])
    assert archives[0] not in remaining


def test_deleted_archive_is_an_error(tmp_path: Path) -> None:
    """An archive that another process deleted meanwhile is an error, and not replaced by an empty one."""
    archives = _archives(tmp_path, 2, time.time())
    archives[0].unlink()
    with pytest.raises(FileNotFoundError):
        _WHEELHOUSE.prune(tmp_path, archives)
    assert list(tmp_path.iterdir()) == archives[1:]


def test_journals_are_limited_by_size_only() -> None:
    """Journals are limited by size and not by age."""
    assert yaml.safe_load((_ROLES / "base/defaults/main.yml").read_text())["base_journal_max_age"] == "0"


def test_last_installed_is_newest(
    tmp_path: Path,
) -> None:
    """The release that was installed last is the newest, even if others have future times."""
    ahead = time.time() + _MONTH_S
    for number in range(4):
        ready = tmp_path / f"releases/{number}/ready"
        ready.parent.mkdir(parents=True)
        ready.touch()
        os.utime(ready, (ahead + number, ahead + number))
    target = tmp_path / "releases/new"
    target.mkdir()
    _RELEASE.make_newest(target)
    assert [path.name for path in _RELEASE.installed(tmp_path)] == ["new", "3", "2", "1", "0"]
