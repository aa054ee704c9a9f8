#!/usr/bin/python3
"""Build the two archives of a release on the control node; hosts install them without network access."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types

DOCUMENTATION = """
module: wheelhouse
short_description: Build the content-addressed archives of a release for the hosts' Python
description:
  - Installs the wheels of a requirements file with hashes for the hosts' Python and architecture into the archive
    C(DEST/LIBRARIES.tar.gz), and a pure Python project into C(DEST/RELEASE.tar.gz). Keeps the twenty archives that were
    used last.
  - Both names are digests of the inputs, so unchanged archives are neither rebuilt nor sent again.
options:
  requirements: {type: path, required: true, description: Requirements file with hashes.}
  project: {type: path, required: true, description: Folder of a Python project with a pyproject.toml.}
  dest: {type: path, required: true, description: Destination folder of the archives.}
  python: {type: path, required: true, description: The control node's Python with pip and the project's build backend.}
  cache:
    type: path
    description:
      - Folder that all checkouts of this machine share, with the twenty archives that were used last. Their names
        include a digest of their content, which is verified. Without a writable cache each checkout builds its own
        archives.
  python_version: {type: str, required: true, description: Python version of the hosts, such as 3.13.}
  platforms: {type: list, elements: str, required: true, description: Wheel platform tags that the hosts accept.}
  host_python:
    type: path
    description:
      - Command C(FOLDER ARGUMENT...) that runs the hosts' Python on the control node, to compile both archives once
        for all hosts. Without it each host compiles them.
author: frota
"""

EXAMPLES = """
- wheelhouse:
    requirements: requirements/hosts.txt
    project: app
    dest: .local/wheelhouse
    python: "{{ ansible_playbook_python }}"
    python_version: "3.13"
    platforms: [manylinux_2_28_x86_64]
  register: wheelhouse
"""

RETURN = """
release: {type: str, returned: always, description: "Name of the release, VERSION-LIBRARIES-PROJECT, with two digests."}
archive: {type: path, returned: always, description: Archive of the project; that of the libraries is beside it.}
"""


DIGEST_DIGITS = 12
# Archives to store. Counted instead of aged: a clock that jumps ahead would delete all.
KEPT_ARCHIVES = 20


def project_files(project: Path) -> list[Path]:
    """Return the source files of the project's wheel in a stable order."""
    sources = (path for path in (project / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [project / "pyproject.toml", *sorted(sources)]


def libraries_name(params: dict[str, Any]) -> str:
    digest = hashlib.sha256(repr((params["python_version"], params["platforms"])).encode())
    digest.update(Path(params["requirements"]).read_bytes())
    return digest.hexdigest()[:DIGEST_DIGITS]


def release_name(params: dict[str, Any], libraries: str) -> str:
    project = Path(params["project"])
    digest = hashlib.sha256(b"installed tree")  # former versions sent a wheel, under the digest of the same files
    for path in project_files(project):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(project)}\0{len(content)}\0".encode() + content)
    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    return f"{version}-{libraries}-{digest.hexdigest()[:DIGEST_DIGITS]}"


def install_libraries(params: dict[str, Any], folder: Path) -> None:
    """Install the libraries' wheels for the hosts' Python and architecture."""
    platforms = [f"--platform={platform}" for platform in params["platforms"]]
    python = f"--python-version={params['python_version']}"
    requirements = ("--require-hashes", f"--requirement={params['requirements']}")
    install(params, folder, "--only-binary=:all:", python, *platforms, *requirements)


def install_project(params: dict[str, Any], folder: Path) -> None:
    """Build and install the project, which is pure Python."""
    install(params, folder, "--no-build-isolation", "--no-index", params["project"])


def install(params: dict[str, Any], folder: Path, *arguments: str) -> None:
    """Install into the folder with the layout of a virtual environment, and compile if possible."""
    packages = folder / "lib" / f"python{params['python_version']}" / "site-packages"
    # pip would compare a package's requires-python with its own Python.
    options = ("--quiet", "--no-deps", "--no-compile", "--ignore-requires-python", f"--target={packages}")
    pip(params, "install", *options, *arguments)
    shutil.rmtree(packages / "bin", ignore_errors=True)  # scripts for the control node's Python
    if can_compile(params):
        # The tree never changes, so Python need not compare compiled files with their sources at import.
        command = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(packages))
        run((params["host_python"], str(folder), *command))


def can_compile(params: dict[str, Any]) -> bool:
    return bool(params["host_python"]) and Path(params["host_python"]).exists()


def prune(folder: Path, used: Iterable[Path]) -> None:
    """Mark archives as used, and delete all but the last used ones. Raises FileNotFoundError for one that is gone."""
    for archive in used:
        os.utime(archive)  # not touch(), which would put an empty archive in the place of one that is gone
    archives = sorted(folder.glob("*.tar*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in set(archives[KEPT_ARCHIVES:]).difference(used):
        path.unlink()


def pip(params: dict[str, Any], *arguments: str) -> None:
    run((params["python"], "-m", "pip", "--disable-pip-version-check", *arguments))


def run(command: tuple[str, ...]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def pack(folder: Path, archive: Path) -> None:
    """Write the archive atomically; another process may be writing the same one."""
    temporary = folder.with_suffix(".unfinished")
    with tarfile.open(temporary, "w:gz", compresslevel=3) as tar:
        tar.add(folder, arcname=archive.name.removesuffix(".tar.gz"), filter=make_readable)
    temporary.replace(archive)


def make_readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make an archive's files readable by every user of a host, independent of the umask."""
    member.mode |= 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


class Cache:
    """Archives that checkouts share, as NAME+DIGEST.tar.gz. Errors only cause a build."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, archive: Path) -> bool:
        """Copy an archive from the cache; return False if there is no undamaged one."""
        for cached in self._folder.glob(f"{self._name(archive)}+*.tar.gz"):
            with contextlib.suppress(OSError), temporary_file(archive) as temporary:
                shutil.copyfile(cached, temporary)
                if self._path(archive, temporary) == cached:
                    temporary.replace(archive)
                    os.utime(cached)  # mark as used
                    return True
            cached.unlink(missing_ok=True)
        return False

    def store(self, archive: Path) -> None:
        """Copy an archive to the cache, and delete all but the last used copies."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            cached = self._path(archive, archive)
            with temporary_file(cached) as temporary:
                shutil.copyfile(archive, temporary)
                temporary.replace(cached)
            # Includes temporary files, so that leftovers of a power failure are deleted eventually.
            copies = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in copies[KEPT_ARCHIVES:]:
                path.unlink(missing_ok=True)

    def _path(self, archive: Path, content: Path) -> Path:
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self._folder / f"{self._name(archive)}+{digest}.tar.gz"

    @staticmethod
    def _name(archive: Path) -> str:
        return archive.name.removesuffix(".tar.gz")


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`, to be renamed when it is complete; delete it otherwise."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".unfinished")
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def build(params: dict[str, Any], archive: Path, install_content: Callable[[dict[str, Any], Path], None]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    cache = Cache(Path(params["cache"], "compiled" if can_compile(params) else "plain")) if params["cache"] else None
    if cache and cache.load(archive):
        return
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        install_content(params, Path(folder))
        pack(Path(folder), archive)
    if cache:
        cache.store(archive)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "path", "required": True},
            "project": {"type": "path", "required": True},
            "python": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "cache": {"type": "path"},
            "python_version": {"type": "str", "required": True},
            "platforms": {"type": "list", "elements": "str", "required": True},
            "host_python": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params, folder = module.params, Path(module.params["dest"])
    libraries = libraries_name(params)
    release = release_name(params, libraries)
    installers = {folder / f"{libraries}.tar.gz": install_libraries, folder / f"{release}.tar.gz": install_project}
    missing = [archive for archive in installers if not archive.exists()]
    if not module.check_mode:
        try:
            for archive in missing:
                build(params, archive, installers[archive])
        except subprocess.CalledProcessError as error:
            module.fail_json(msg=f"{' '.join(error.cmd[:5])} failed:\n{error.stderr.strip()}")
        try:
            prune(folder, installers)
        except FileNotFoundError as error:
            module.fail_json(msg=f"{error.filename} was deleted meanwhile. Run this again")
    module.exit_json(changed=missing != [], release=release, archive=str(folder / f"{release}.tar.gz"))


if __name__ == "__main__":
    main()
