#!/usr/bin/python3
"""Build, on the control node, the two archives from which hosts install a release offline."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types

DOCUMENTATION = """
module: wheelhouse
short_description: Content-addressed archives of a release for the hosts' Python
description:
  - Installs the wheels of a hash-locked requirements file for another Python and architecture into the tree
    C(DEST/LIBRARIES.tar.gz), and a project of Python alone into the tree C(DEST/RELEASE.tar.gz). The twenty archives
    that were used last are kept.
  - Both names are digests of all that goes into them, so what has not changed is neither built nor sent again.
options:
  requirements: {type: path, required: true, description: Hash-locked requirements file.}
  project: {type: path, required: true, description: Folder of a Python project with a pyproject.toml.}
  dest: {type: path, required: true, description: Folder of the archives.}
  python: {type: path, required: true, description: The control node's Python with pip and the project's build backend.}
  python_version: {type: str, required: true, description: The hosts' Python, such as 3.13.}
  platforms: {type: list, elements: str, required: true, description: Wheel platform tags the hosts accept.}
  host_python:
    type: path
    description:
      - Command C(FOLDER ARGUMENT...) that runs the hosts' Python on the control node, to compile both trees once for
        all hosts. Without it each host compiles them.
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
release: {type: str, returned: always, description: "Name of the release, VERSION-LIBRARIES-PROJECT: two digests."}
archive: {type: path, returned: always, description: The archive of the project; that of the libraries is beside it.}
"""


DIGITS = 12
# Archives; former releases are on the hosts. By number: by age, a clock that leaps ahead would remove them all.
KEPT = 20


def project_files(project: Path) -> list[Path]:
    """What the project's wheel is made from, in a stable order."""
    sources = (path for path in (project / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [project / "pyproject.toml", *sorted(sources)]


def libraries_name(params: dict[str, Any]) -> str:
    digest = hashlib.sha256(repr((params["python_version"], params["platforms"])).encode())
    digest.update(Path(params["requirements"]).read_bytes())
    return digest.hexdigest()[:DIGITS]


def release_name(params: dict[str, Any], libraries: str) -> str:
    project = Path(params["project"])
    digest = hashlib.sha256(b"installed tree")  # former versions sent a wheel under the digest of its files
    for path in project_files(project):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(project)}\0{len(content)}\0".encode() + content)
    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    return f"{version}-{libraries}-{digest.hexdigest()[:DIGITS]}"


def gather_libraries(params: dict[str, Any], folder: Path) -> None:
    """Install the libraries' wheels, those of the hosts' Python and architecture."""
    platforms = [f"--platform={platform}" for platform in params["platforms"]]
    python = f"--python-version={params['python_version']}"
    locked = ("--require-hashes", f"--requirement={params['requirements']}")
    install(params, folder, "--only-binary=:all:", python, *platforms, *locked)


def gather_project(params: dict[str, Any], folder: Path) -> None:
    """Build and install the project, which is of Python alone."""
    install(params, folder, "--no-build-isolation", "--no-index", params["project"])


def install(params: dict[str, Any], folder: Path, *what: str) -> None:
    """Install into the folder as below a virtual environment, compiled where that is possible."""
    packages = folder / "lib" / f"python{params['python_version']}" / "site-packages"
    # pip compares what a package asks for with the Python that it runs on itself.
    options = ("--quiet", "--no-deps", "--no-compile", "--ignore-requires-python", f"--target={packages}")
    pip(params, "install", *options, *what)
    shutil.rmtree(packages / "bin", ignore_errors=True)  # commands that would run the control node's Python
    if params["host_python"] and Path(params["host_python"]).exists():
        # The tree is never edited, so its compiled files need not be compared with their sources at each import.
        words = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(packages))
        run((params["host_python"], str(folder), *words))


def prune(folder: Path, wanted: Iterable[Path]) -> None:
    """Note that these archives were wanted, and remove all but those that were wanted last."""
    for archive in wanted:
        archive.touch()
    archives = sorted(folder.glob("*.tar*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in set(archives[KEPT:]).difference(wanted):
        path.unlink()


def pip(params: dict[str, Any], *words: str) -> None:
    run((params["python"], "-m", "pip", "--disable-pip-version-check", *words))


def run(command: tuple[str, ...]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def pack(folder: Path, archive: Path) -> None:
    """Write the archive under its name only when it is whole; another process may be writing the same one."""
    unfinished = folder.with_suffix(".unfinished")
    with tarfile.open(unfinished, "w:gz", compresslevel=3) as tar:
        tar.add(folder, arcname=archive.name.removesuffix(".tar.gz"), filter=readable)
    unfinished.replace(archive)


def readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make an archive's files readable by every user of a host, whatever the umask here is."""
    member.mode |= 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def make(params: dict[str, Any], archive: Path, gather: Callable[[dict[str, Any], Path], None]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        gather(params, Path(folder))
        pack(Path(folder), archive)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "path", "required": True},
            "project": {"type": "path", "required": True},
            "python": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "python_version": {"type": "str", "required": True},
            "platforms": {"type": "list", "elements": "str", "required": True},
            "host_python": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params, folder = module.params, Path(module.params["dest"])
    libraries = libraries_name(params)
    release = release_name(params, libraries)
    gathered = {folder / f"{libraries}.tar.gz": gather_libraries, folder / f"{release}.tar.gz": gather_project}
    missing = [archive for archive in gathered if not archive.exists()]
    if not module.check_mode:
        try:
            for archive in missing:
                make(params, archive, gathered[archive])
        except subprocess.CalledProcessError as error:
            module.fail_json(msg=f"{' '.join(error.cmd[:5])} failed:\n{error.stderr.strip()}")
        prune(folder, gathered)
    module.exit_json(changed=missing != [], release=release, archive=str(folder / f"{release}.tar.gz"))


if __name__ == "__main__":
    main()
