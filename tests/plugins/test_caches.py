"""What checkouts of a machine share, archives of releases and bare hosts: made once, and used only as it was made."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .modules import load

_WHEELHOUSE = load("wheelhouse")
_SCRIPT = Path(__file__).parents[2] / "roles/local_host/files/bare_image.sh"
_MONTH = 31 * 86400


class _Builds:
    """Makes archives as a checkout does, and counts those that it had to build."""

    def __init__(self, cache: Path) -> None:
        self.count = 0
        self._cache = cache

    def make(self, archive: Path, content: str = "built", host_python: Path | None = None) -> None:
        params = {"cache": str(self._cache), "host_python": host_python}
        _WHEELHOUSE.make(params, archive, lambda _, folder: self._build(folder, content))

    def _build(self, folder: Path, content: str) -> None:
        self.count += 1
        (folder / "file").write_text(content)


@pytest.fixture
def builds(tmp_path: Path) -> _Builds:
    return _Builds(tmp_path / "cache")


def test_what_one_checkout_built_another_takes_as_it_is(builds: _Builds, tmp_path: Path) -> None:
    one, other = (tmp_path / name / "name.tar.gz" for name in ("one", "other"))
    builds.make(one)
    builds.make(other)
    assert (builds.count, other.read_bytes()) == (1, one.read_bytes())
    assert [path.name for path in other.parent.iterdir()] == [other.name]


def test_an_archive_that_is_not_as_it_was_built_is_built_anew_and_replaced(builds: _Builds, tmp_path: Path) -> None:
    builds.make(tmp_path / "one/name.tar.gz")
    [kept] = (tmp_path / "cache/plain").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    builds.make(tmp_path / "two/name.tar.gz")
    builds.make(tmp_path / "three/name.tar.gz")
    assert builds.count == 2
    assert (tmp_path / "three/name.tar.gz").read_bytes() == (tmp_path / "two/name.tar.gz").read_bytes()


def test_what_is_compiled_and_what_is_not_are_kept_apart(builds: _Builds, tmp_path: Path) -> None:
    compiler = tmp_path / "host-python"
    compiler.touch()
    builds.make(tmp_path / "one/name.tar.gz")
    builds.make(tmp_path / "two/name.tar.gz", host_python=compiler)
    assert builds.count == 2


def test_a_cache_that_cannot_be_written_to_costs_no_more_than_a_build(builds: _Builds, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    for number in range(2):
        builds.make(tmp_path / f"{number}/name.tar.gz")
    assert builds.count == 2


def test_of_all_that_was_built_those_that_were_wanted_last_are_kept(builds: _Builds, tmp_path: Path) -> None:
    for number in range(_WHEELHOUSE.KEPT):
        builds.make(tmp_path / f"one/{number}.tar.gz", str(number))
        [path] = (tmp_path / "cache/plain").glob(f"{number}+*")
        os.utime(path, (number, number))
    builds.make(tmp_path / "two/0.tar.gz")
    builds.make(tmp_path / "two/last.tar.gz")
    kept = {path.name.split("+")[0] for path in (tmp_path / "cache/plain").iterdir()}
    assert kept == {"last", *map(str, range(_WHEELHOUSE.KEPT))} - {"1"}


class _Images:
    """Runs the script with a stand-in for mmdebstrap, which writes the number of its call and its words."""

    def __init__(self, folder: Path) -> None:
        self.calls, self.cache = folder / "calls", folder / "cache"
        self.started: list[subprocess.Popen[str]] = []
        program = folder / "bin/mmdebstrap"
        program.parent.mkdir()
        program.write_text(
            "#!/bin/sh\nfor last; do :; done\n"
            f'echo "$*" >>{self.calls}\nwc -l <{self.calls} >"$last"\n'
            f"[ ! -e {folder}/broken ] || exit 1\n"
            f"[ ! -p {folder}/go ] || cat {folder}/go\n"
        )
        program.chmod(0o755)
        self.environ = {"PATH": f"{program.parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(self.cache)}

    def start(self, *packages: str) -> "subprocess.Popen[str]":
        command = [str(_SCRIPT), *packages]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=self.environ, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def make(self, *packages: str) -> Path:
        out, err = self.start(*packages).communicate(timeout=60)
        assert out.count("\n") == 1, err
        return Path(out.strip())

    def made(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.cache / "frota").iterdir() if path.name != "lock")


@pytest.fixture
def images(tmp_path: Path) -> Iterator[_Images]:
    """Give the script, and end what a test that failed has left running."""
    found = _Images(tmp_path)
    yield found
    for process in found.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_an_image_is_made_once_and_one_with_other_packages_is_another(images: _Images) -> None:
    bare, again, more = images.make(), images.make(), images.make("one", "two")
    assert bare == again != more
    assert [("packages.sh" in words, words.endswith("unfinished")) for words in images.made()] == [
        (False, True),
        (True, True),
    ]
    assert "one two" in images.made()[1]


def _waits_for_a_lock(pid: int) -> bool:
    """Tell whether a script has come to its lock, and not beyond it."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # it may have ended
            if Path(f"/proc/{child}/comm").read_text() == "flock\n":
                return True
    return False


def test_two_checkouts_that_want_an_image_at_the_same_moment_make_it_once(images: _Images, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    first = images.start()
    while not images.made():
        assert first.poll() is None
    second = images.start()
    while not _waits_for_a_lock(second.pid):
        assert len(images.made()) == 1
    (tmp_path / "go").write_text("")
    assert first.communicate(timeout=60) == second.communicate(timeout=60)
    assert len(images.made()) == 1


@pytest.mark.parametrize("what", ["content", "age"])
def test_an_image_of_other_content_or_older_than_a_month_is_made_anew(images: _Images, what: str) -> None:
    first = images.make()
    if what == "content":
        first.write_text("other\n")
    else:
        os.utime(first, (first.stat().st_mtime - _MONTH,) * 2)
    second = images.make()
    assert (len(images.made()), second.read_text()) == (2, "2\n")
    assert images.kept() == [second.name]


def test_an_image_that_could_not_be_made_is_none_and_nothing_of_it_is_left(images: _Images, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    process = images.start()
    assert (process.communicate(timeout=60)[0], process.returncode) == ("", 1)
    (tmp_path / "broken").unlink()
    made = images.make()
    assert images.kept() == [made.name]


def test_the_images_that_were_wanted_last_are_kept(images: _Images) -> None:
    first = images.make()
    for number in range(6):
        latest = images.make(f"package-{number}")
        os.utime(latest, (number + 1_000_000_000, latest.stat().st_mtime))
        assert first == images.make()
    assert {first.name, latest.name} <= set(images.kept())
    assert len(images.kept()) == 6


def test_without_a_home_that_can_be_written_to_images_are_the_checkouts_own(images: _Images, tmp_path: Path) -> None:
    images.cache.touch()
    script = tmp_path / "checkout/roles/local_host/files/bare_image.sh"
    script.parent.mkdir(parents=True)
    for name in _SCRIPT.parent.iterdir():
        (script.parent / name.name).symlink_to(name)
    done = subprocess.run([script], env=images.environ, check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()).parent.resolve() == tmp_path / "checkout/.local/cache"
