#!/usr/bin/python3
"""A release beside the others on a host, on top of libraries that releases share. Offline."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.installed_releases import installed  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: release
short_description: A release installed beside the ones that are there, offline
description:
  - Sends the archives that the host lacks and installs them under C(HOME/libraries) and C(HOME/releases). Each is there
    under its name only when it is whole and on disk; neither C(current) nor anything that runs is changed.
  - Keeps the last three releases, the one in use, and their libraries.
options:
  home: {type: path, required: true, description: "Folder that holds C(libraries/), C(releases/) and C(current)."}
  release: {type: str, required: true, description: "Name of the release, C(VERSION-LIBRARIES-PROJECT)."}
  archive: {type: path, required: true, description: Its archive on the control node; the libraries' is beside it.}
  command: {type: str, default: "", description: Executable that people get on their path.}
  archives:
    {type: dict, default: {}, description: "Archives that were sent, name to file; the action plugin fills this in."}
author: frota
"""

EXAMPLES = """
- release:
    home: /opt/frota
    release: 0.1.0-0123456789ab-ba9876543210
    archive: .local/wheelhouse/0.1.0-0123456789ab-ba9876543210.tar.gz
    command: frota
"""

RETURN = """
lacking: {type: list, elements: str, returned: success, description: Archives that the host lacks, or lacked.}
"""

KEPT = 3
PATH = Path("/usr/local/bin")
EXECUTABLE = """#!{python}
import sys

from {module} import {function}

sys.exit({function}())
"""


class Home:
    """The folder of a service's releases."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.folder = Path(params["home"])
        self.current = self.folder / "current"
        self.release = self.folder / "releases" / params["release"]
        self.libraries = self.folder / "libraries" / params["release"].split("-")[-2]

    def lacking(self) -> list[Path]:
        """Return what has to be installed, the libraries first."""
        return [path for path in (self.libraries, self.release) if not path.joinpath("ready").exists()]

    def superfluous(self) -> Iterator[Path]:
        """Yield releases that are not kept, and the libraries of none that is."""
        releases = installed(self.folder)
        kept = {*releases[:KEPT], self.current.resolve(), self.release}
        yield from (path for path in releases if path not in kept)
        used = {path.name.split("-")[-2] for path in kept if path.name.count("-") > 1}
        yield from (path for path in self.folder.glob("libraries/*") if path.name not in used)


def run(*words: object) -> str:
    """Return what a command prints. Raises CalledProcessError."""
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout.strip()


def unpack(archive: str, folder: Path) -> None:
    """Put what is in an archive in the folder's place."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run("tar", "--extract", "--gzip", "--no-same-owner", "--file", archive, "--directory", folder.parent)


def make_newest(folder: Path) -> None:
    """Let a folder be the newest of its kind, also where another was made while the clock was ahead."""
    times = [path.stat().st_mtime for path in folder.parent.glob("*/ready")]
    newest = max([datetime.now(UTC).timestamp(), *(time + 1 for time in times)])
    folder.joinpath("ready").touch()
    os.utime(folder / "ready", (newest, newest))


def ready(folder: Path) -> None:
    """Say that a folder is whole, once it is on disk whatever happens to the host next."""
    run("sync", "--file-system", folder)
    make_newest(folder)


def compile_tree(folder: Path) -> None:
    """Compile what is in a tree, where the control node could not."""
    if not any(folder.rglob("*.pyc")):
        run("python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder)


def install_libraries(libraries: Path, archive: str) -> None:
    """Make the libraries from their tree."""
    unpack(archive, libraries)
    compile_tree(libraries)
    ready(libraries)


def install_release(release: Path, libraries: Path, archive: str) -> None:
    """Make the release's tree a virtual environment that has the libraries too."""
    unpack(archive, release)
    compile_tree(release)
    run("python3", "-m", "venv", "--without-pip", release)
    packages = Path(run(release / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # site(7) of Python: a folder named in such a file is searched as well.
    packages.joinpath("libraries.pth").write_text(f"{libraries / packages.relative_to(release)}\n", encoding="utf-8")
    place_executables(release, packages)
    ready(release)


def place_executables(release: Path, packages: Path) -> None:
    """Write the executables that the release's packages declare, as pip does where it installs."""
    for distribution in metadata.distributions(path=[str(packages)]):
        for entry in distribution.entry_points.select(group="console_scripts"):
            executable = release / "bin" / entry.name
            call = {"python": release / "bin/python", "module": entry.module, "function": entry.attr}
            executable.write_text(EXECUTABLE.format(**call), encoding="utf-8")
            executable.chmod(0o755)


def install(home: Home, archives: Mapping[str, str]) -> None:
    """Install what is lacking, and remove what is superfluous then."""
    # A rollback from the new release goes back to the one in use, whatever was installed between the two.
    if home.current.joinpath("ready").exists():
        make_newest(home.current.resolve())
    if home.libraries.name in archives:
        install_libraries(home.libraries, archives[home.libraries.name])
    run("chmod", "--recursive", "a+rX", home.libraries)  # a former version may have made them for root alone
    if home.release.name in archives:
        install_release(home.release, home.libraries, archives[home.release.name])
    for path in home.superfluous():
        shutil.rmtree(path)
    shutil.rmtree(home.folder / "wheels", ignore_errors=True)  # what former versions installed from


def place_command(home: Home, name: str, check_mode: bool) -> bool:
    """Put a command on people's path; it leads to nothing until the first unit has switched to a release."""
    link, target = PATH / name, home.current / "bin" / name
    if not name or (link.is_symlink() and link.readlink() == target):
        return False
    if not check_mode:
        unfinished = link.with_name(f".{name}.{os.getpid()}")
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(target)
        unfinished.replace(link)
    return True


def place_settings(folder: Path, check_mode: bool) -> bool:
    """Have the folder of settings, that everybody may read."""
    if folder.is_dir() and folder.stat().st_mode & 0o7777 == 0o755:
        return False
    if not check_mode:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    return True


def main() -> None:
    """Run as a module of Ansible's."""
    spec = {
        "home": {"type": "path", "required": True},
        "release": {"type": "str", "required": True},
        "archive": {"type": "path", "required": True},
        "command": {"type": "str", "default": ""},
        "archives": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    os.umask(0o022)  # services with dynamic users read it, whatever the login's umask is
    home, archives = Home(module.params), module.params["archives"]
    lacking = home.lacking()
    try:
        changed = [
            place_settings(Path("/etc/frota"), module.check_mode),
            place_command(home, module.params["command"], module.check_mode),
        ]
        if archives and not module.check_mode:
            install(home, archives)
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"{' '.join(error.cmd)} failed:\n{error.stderr.strip()}")
    headers = [{"before_header": str(path), "after_header": str(path)} for path in lacking]
    diff = [{**header, "before": "", "after": "installed\n"} for header in headers]
    module.exit_json(changed=any(changed) or bool(lacking), lacking=[path.name for path in lacking], diff=diff)


if __name__ == "__main__":
    main()
