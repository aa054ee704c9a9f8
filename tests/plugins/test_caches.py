"""Caches that the checkouts of a machine share: archives of releases, and images of bare hosts."""

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
_MONTH_S = 31 * 86400


class _Builds:
    """Requests archives like a checkout, and counts those that were built."""

    def __init__(self, cache: Path) -> None:
        self.count = 0
        self._cache = cache

    def request(self, archive: Path, content: str = "built", host_python: Path | None = None) -> None:
        params = {"cache": str(self._cache), "host_python": host_python}
        _WHEELHOUSE.build(params, archive, lambda _, folder: self._build(folder, content))

    def _build(self, folder: Path, content: str) -> None:
        self.count += 1
        (folder / "file").write_text(content)


@pytest.fixture
def builds(tmp_path: Path) -> _Builds:
    return _Builds(tmp_path / "cache")


def test_archive_is_shared_by_checkouts(builds: _Builds, tmp_path: Path) -> None:
    """A checkout takes the archive that another one built."""
    first, second = (tmp_path / name / "name.tar.gz" for name in ("one", "other"))
    builds.request(first)
    builds.request(second)
    assert (builds.count, second.read_bytes()) == (1, first.read_bytes())
    assert [path.name for path in second.parent.iterdir()] == [second.name]


def test_damaged_archive_is_replaced(builds: _Builds, tmp_path: Path) -> None:
    """A damaged archive in the cache is built again and replaced."""
    builds.request(tmp_path / "one/name.tar.gz")
    [cached] = (tmp_path / "cache/plain").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    builds.request(tmp_path / "two/name.tar.gz")
    builds.request(tmp_path / "three/name.tar.gz")
    assert builds.count == 2
    assert (tmp_path / "three/name.tar.gz").read_bytes() == (tmp_path / "two/name.tar.gz").read_bytes()


def test_compiled_archives_are_separate(builds: _Builds, tmp_path: Path) -> None:
    """Compiled and plain archives are cached separately."""
    compiler = tmp_path / "host-python"
    compiler.touch()
    builds.request(tmp_path / "one/name.tar.gz")
    builds.request(tmp_path / "two/name.tar.gz", host_python=compiler)
    assert builds.count == 2


def test_read_only_cache_causes_a_build(builds: _Builds, tmp_path: Path) -> None:
    """Without a writable cache every checkout builds its own archive."""
    (tmp_path / "cache").touch()
    for number in range(2):
        builds.request(tmp_path / f"{number}/name.tar.gz")
    assert builds.count == 2


def test_least_recently_used_archives_are_deleted(builds: _Builds, tmp_path: Path) -> None:
    """The cache keeps the archives that were used last."""
    for number in range(_WHEELHOUSE.KEPT_ARCHIVES):
        builds.request(tmp_path / f"one/{number}.tar.gz", str(number))
        [path] = (tmp_path / "cache/plain").glob(f"{number}+*")
        os.utime(path, (number, number))
    builds.request(tmp_path / "two/0.tar.gz")
    builds.request(tmp_path / "two/last.tar.gz")
    cached = {path.name.split("+")[0] for path in (tmp_path / "cache/plain").iterdir()}
    assert cached == {"last", *map(str, range(_WHEELHOUSE.KEPT_ARCHIVES))} - {"1"}


class _Images:
    """Runs the script with a fake mmdebstrap, which logs its arguments and writes the number of its call."""

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

    def builds(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def cached(self) -> list[str]:
        return sorted(path.name for path in (self.cache / "frota").iterdir() if path.name != "lock")


@pytest.fixture
def images(tmp_path: Path) -> Iterator[_Images]:
    """Yield the script; kill what a failed test left running."""
    script = _Images(tmp_path)
    yield script
    for process in script.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_image_depends_on_its_packages(images: _Images) -> None:
    """An image is built once for each list of packages."""
    bare, bare_again, with_packages = images.make(), images.make(), images.make("one", "two")
    assert bare == bare_again != with_packages
    assert [("packages.sh" in call, call.endswith("unfinished")) for call in images.builds()] == [
        (False, True),
        (True, True),
    ]
    assert "one two" in images.builds()[1]


def _waits_for_a_lock(pid: int) -> bool:
    """Tell whether a script waits for its lock."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # it may have ended
            if Path(f"/proc/{child}/comm").read_text() == "flock\n":
                return True
    return False


def test_concurrent_checkouts_build_an_image_once(images: _Images, tmp_path: Path) -> None:
    """Two checkouts that request the same image concurrently build it once."""
    os.mkfifo(tmp_path / "go")
    first = images.start()
    while not images.builds():
        assert first.poll() is None
    second = images.start()
    while not _waits_for_a_lock(second.pid):
        assert len(images.builds()) == 1
    (tmp_path / "go").write_text("")
    assert first.communicate(timeout=60) == second.communicate(timeout=60)
    assert len(images.builds()) == 1


@pytest.mark.parametrize("what", ["content", "age"])
def test_outdated_image_is_rebuilt(images: _Images, what: str) -> None:
    """A damaged image, or one older than a month, is rebuilt and replaced."""
    first = images.make()
    if what == "content":
        first.write_text("other\n")
    else:
        os.utime(first, (first.stat().st_mtime - _MONTH_S,) * 2)
    second = images.make()
    assert (len(images.builds()), second.read_text()) == (2, "2\n")
    assert images.cached() == [second.name]


def test_failed_build_leaves_nothing(images: _Images, tmp_path: Path) -> None:
    """A failed build exits with an error and leaves no file."""
    (tmp_path / "broken").touch()
    process = images.start()
    assert (process.communicate(timeout=60)[0], process.returncode) == ("", 1)
    (tmp_path / "broken").unlink()
    image = images.make()
    assert images.cached() == [image.name]


def test_least_recently_used_images_are_deleted(images: _Images) -> None:
    """The cache keeps the six images that were requested last."""
    first = images.make()
    for number in range(6):
        latest = images.make(f"package-{number}")
        os.utime(latest, (number + 1_000_000_000, latest.stat().st_mtime))
        assert first == images.make()
    assert {first.name, latest.name} <= set(images.cached())
    assert len(images.cached()) == 6


def test_checkout_caches_without_writable_home(images: _Images, tmp_path: Path) -> None:
    """Without a writable home folder, images are cached in the checkout."""
    images.cache.touch()
    script = tmp_path / "checkout/roles/local_host/files/bare_image.sh"
    script.parent.mkdir(parents=True)
    for name in _SCRIPT.parent.iterdir():
        (script.parent / name.name).symlink_to(name)
    done = subprocess.run([script], env=images.environ, check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()).parent.resolve() == tmp_path / "checkout/.local/cache"
