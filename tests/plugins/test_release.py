"""The modules `wheelhouse` and `release` without a host: archives, installation, retention."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from .modules import load

_RELEASE, _WHEELHOUSE = load("release"), load("wheelhouse")
_LIBRARIES = "0123456789ab"
_EXAMPLE = Path(__file__).parents[2] / "molecule/python_service/example"
_ALONE = {"host_python": None, "cache": None}


def _home(folder: Path, release: str) -> Any:
    return _RELEASE.Home({"home": str(folder), "release": release})


def _installed(folder: Path, *releases: str) -> None:
    """Install releases in this order, a minute apart."""
    for age, release in enumerate(reversed(releases)):
        for path in (folder / "releases" / release, folder / "libraries" / release.split("-")[-2]):
            path.mkdir(parents=True, exist_ok=True)
            (path / "ready").touch()
            os.utime(path / "ready", (1_000_000 - 60 * age,) * 2)


def _superfluous(home: Any) -> set[str]:
    return {str(path.relative_to(home.folder)) for path in home.superfluous()}


def test_missing_archives(tmp_path: Path) -> None:
    """A host with the libraries of a release misses only the release itself."""
    home = _home(tmp_path, f"1-{_LIBRARIES}-b")
    assert home.missing() == [tmp_path / "libraries" / _LIBRARIES, tmp_path / "releases" / f"1-{_LIBRARIES}-b"]
    _installed(tmp_path, f"1-{_LIBRARIES}-a")
    assert home.missing() == [tmp_path / "releases" / f"1-{_LIBRARIES}-b"]


def test_interrupted_installation_is_missing(tmp_path: Path) -> None:
    """A release whose installation was interrupted is missing."""
    _installed(tmp_path, f"1-{_LIBRARIES}-a")
    (tmp_path / "releases" / f"1-{_LIBRARIES}-a" / "ready").unlink()
    assert [path.name for path in _home(tmp_path, f"1-{_LIBRARIES}-a").missing()] == [f"1-{_LIBRARIES}-a"]


def test_retention_of_releases(tmp_path: Path) -> None:
    """The last three releases and the current one are kept with their libraries."""
    _installed(tmp_path, "1-used-a", "1-old-b", "1-old-c", "1-new-d", "1-new-e", "1-new-f")
    (tmp_path / "libraries" / "of-none").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "1-used-a")
    home = _home(tmp_path, "1-new-f")
    assert _superfluous(home) == {"releases/1-old-b", "releases/1-old-c", "libraries/old", "libraries/of-none"}


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_archives_are_world_readable(tmp_path: Path, umask: int) -> None:
    """Archived files are readable by everybody and owned by root, whatever the umask."""
    previous = os.umask(umask)
    try:
        folder = tmp_path / "tree"
        (folder / "package").mkdir(parents=True)
        (folder / "package" / "module.py").write_text("")
        (folder / "command").write_text("")
        (folder / "command").chmod(0o700)
        _WHEELHOUSE.pack(folder, tmp_path / "name.tar.gz")
    finally:
        os.umask(previous)
    with tarfile.open(tmp_path / "name.tar.gz") as tar:
        modes = {member.name: member.mode & 0o777 for member in tar}
        assert {(member.uid, member.gid) for member in tar} == {(0, 0)}
    assert modes == {"name": 0o755, "name/package": 0o755, "name/package/module.py": 0o644, "name/command": 0o755}


def test_command_link_is_placed_and_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link of a command is created once, and replaced if its target is wrong."""
    monkeypatch.setattr(_RELEASE, "COMMAND_FOLDER", tmp_path)
    home = _home(tmp_path / "home", f"1-{_LIBRARIES}-a")
    assert _RELEASE.place_command(home, "frota", check_mode=True)
    assert not (tmp_path / "frota").is_symlink()
    assert _RELEASE.place_command(home, "frota", check_mode=False)
    assert (tmp_path / "frota").readlink() == home.current / "bin" / "frota"
    assert not _RELEASE.place_command(home, "frota", check_mode=False)
    (tmp_path / "frota").unlink()
    (tmp_path / "frota").symlink_to("other")
    assert _RELEASE.place_command(home, "frota", check_mode=False)
    assert (tmp_path / "frota").readlink() == home.current / "bin" / "frota"


def test_last_installed_is_newest(tmp_path: Path) -> None:
    """The release that was installed last is the newest, even if the clock was ahead before."""
    _installed(tmp_path, "1-a-a", "1-b-b")
    ahead = 4_000_000_000
    os.utime(tmp_path / "releases" / "1-a-a" / "ready", (ahead, ahead))
    _RELEASE.make_newest(tmp_path / "releases" / "1-b-b")
    assert [path.name for path in _RELEASE.installed(tmp_path)] == ["1-b-b", "1-a-a"]


def test_requested_release_is_kept(tmp_path: Path) -> None:
    """The requested release is kept, however old it is."""
    _installed(tmp_path, "1-l-wanted", "1-l-b", "1-l-c", "1-l-d")
    assert _superfluous(_home(tmp_path, "1-l-wanted")) == set()


def test_installed_release_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed release is compiled and runs with its libraries."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # the host's Python
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    library = tmp_path / "libraries" / _LIBRARIES / "lib" / f"python{version}" / "site-packages" / "beside.py"
    library.parent.mkdir(parents=True)
    library.write_text("answer = 42\n")
    release, archive = tmp_path / "releases" / f"1-{_LIBRARIES}-a", tmp_path / f"1-{_LIBRARIES}-a.tar.gz"
    project = {"python": sys.executable, "python_version": version, "project": str(_EXAMPLE), **_ALONE}
    _WHEELHOUSE.build(project, archive, _WHEELHOUSE.install_project)

    _RELEASE.install_release(release, library.parents[3], str(archive))

    assert (release / "ready").exists()
    assert list(release.rglob("example*.pyc")) != []
    assert _RELEASE.run(release / "bin/python", "-c", "import beside; print(beside.answer)") == "42"
    settings = tmp_path / "example.env"
    for answer, status in (("100", 0), ("101", 78)):
        settings.write_text(f'EXAMPLE_ANSWER="{answer}"\n')
        checked = [str(release / "bin/example"), "--env-file", str(settings), "--check"]
        assert subprocess.run(checked, check=False).returncode == status
