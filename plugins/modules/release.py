#!/usr/bin/python3
"""Install a release beside the others on a host, with libraries that releases share, without network access."""

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
short_description: Install a release beside the existing ones, without network access
description:
  - Sends the missing archives and installs them under C(HOME/libraries) and C(HOME/releases). A folder is complete and
    on disk when it has a file C(ready). Changes neither C(current) nor running services.
  - Keeps the last three releases, the current one, and their libraries.
options:
  home: {type: path, required: true, description: "Folder that holds C(libraries/), C(releases/) and C(current)."}
  release: {type: str, required: true, description: "Name of the release, C(VERSION-LIBRARIES-PROJECT)."}
  archive: {type: path, required: true, description: Archive on the control node; that of the libraries is beside it.}
  command: {type: str, default: "", description: Executable to link into C(/usr/local/bin).}
  archives:
    {type: dict, default: {}, description: "Sent archives, name to file; set by the action plugin."}
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
missing: {type: list, elements: str, returned: success, description: Archives that were, or would be, installed.}
"""

KEPT_RELEASES = 3
COMMAND_FOLDER = Path("/usr/local/bin")
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

    def missing(self) -> list[Path]:
        """Return the folders to install, the libraries first."""
        return [path for path in (self.libraries, self.release) if not path.joinpath("ready").exists()]

    def superfluous(self) -> Iterator[Path]:
        """Yield the releases to delete, and the libraries that no retained release uses."""
        releases = installed(self.folder)
        retained = {*releases[:KEPT_RELEASES], self.current.resolve(), self.release}
        yield from (path for path in releases if path not in retained)
        libraries = {path.name.split("-")[-2] for path in retained if path.name.count("-") > 1}
        yield from (path for path in self.folder.glob("libraries/*") if path.name not in libraries)


def run(*command: object) -> str:
    """Return a command's output. Raises CalledProcessError."""
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.strip()


def unpack(archive: str, folder: Path) -> None:
    """Replace a folder by the content of an archive."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run("tar", "--extract", "--gzip", "--no-same-owner", "--file", archive, "--directory", folder.parent)


def make_newest(folder: Path) -> None:
    """Make a folder the newest of its kind, even if the clock was ahead when another was created."""
    times = [path.stat().st_mtime for path in folder.parent.glob("*/ready")]
    newest = max([datetime.now(UTC).timestamp(), *(time + 1 for time in times)])
    folder.joinpath("ready").touch()
    os.utime(folder / "ready", (newest, newest))


def mark_complete(folder: Path) -> None:
    """Sync a folder to disk, then mark it as complete."""
    run("sync", "--file-system", folder)
    make_newest(folder)


def compile_tree(folder: Path) -> None:
    """Compile a tree unless the control node did."""
    if not any(folder.rglob("*.pyc")):
        run("python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder)


def install_libraries(libraries: Path, archive: str) -> None:
    """Install the libraries from their archive."""
    unpack(archive, libraries)
    compile_tree(libraries)
    mark_complete(libraries)


def install_release(release: Path, libraries: Path, archive: str) -> None:
    """Install the release as a virtual environment that includes the libraries."""
    unpack(archive, release)
    compile_tree(release)
    run("python3", "-m", "venv", "--without-pip", release)
    packages = Path(run(release / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # Python's site module adds the folders in .pth files to the path.
    packages.joinpath("libraries.pth").write_text(f"{libraries / packages.relative_to(release)}\n", encoding="utf-8")
    write_executables(release, packages)
    mark_complete(release)


def write_executables(release: Path, packages: Path) -> None:
    """Write the executables of the packages' console_scripts, like pip."""
    for distribution in metadata.distributions(path=[str(packages)]):
        for entry in distribution.entry_points.select(group="console_scripts"):
            executable = release / "bin" / entry.name
            target = {"python": release / "bin/python", "module": entry.module, "function": entry.attr}
            executable.write_text(EXECUTABLE.format(**target), encoding="utf-8")
            executable.chmod(0o755)


def install(home: Home, archives: Mapping[str, str]) -> None:
    """Install the sent archives, then delete superfluous releases and libraries."""
    # A rollback from the new release leads to the current one, even if others were installed between them.
    if home.current.joinpath("ready").exists():
        make_newest(home.current.resolve())
    if home.libraries.name in archives:
        install_libraries(home.libraries, archives[home.libraries.name])
    run("chmod", "--recursive", "a+rX", home.libraries)  # a former version may have made them readable by root only
    if home.release.name in archives:
        install_release(home.release, home.libraries, archives[home.release.name])
    for path in home.superfluous():
        shutil.rmtree(path)
    shutil.rmtree(home.folder / "wheels", ignore_errors=True)  # left by former versions


def place_command(home: Home, name: str, check_mode: bool) -> bool:
    """Link a command into /usr/local/bin; the link dangles until the first service switches to a release."""
    link, target = COMMAND_FOLDER / name, home.current / "bin" / name
    if not name or (link.is_symlink() and link.readlink() == target):
        return False
    if not check_mode:
        temporary = link.with_name(f".{name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    return True


def place_settings(folder: Path, check_mode: bool) -> bool:
    """Create the folder of settings, readable by everybody."""
    if folder.is_dir() and folder.stat().st_mode & 0o7777 == 0o755:
        return False
    if not check_mode:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    return True


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "home": {"type": "path", "required": True},
        "release": {"type": "str", "required": True},
        "archive": {"type": "path", "required": True},
        "command": {"type": "str", "default": ""},
        "archives": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    os.umask(0o022)  # readable by services with dynamic users, independent of the login's umask
    home, archives = Home(module.params), module.params["archives"]
    missing = home.missing()
    try:
        changed = [
            place_settings(Path("/etc/frota"), module.check_mode),
            place_command(home, module.params["command"], module.check_mode),
        ]
        if archives and not module.check_mode:
            install(home, archives)
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"{' '.join(error.cmd)} failed:\n{error.stderr.strip()}")
    headers = [{"before_header": str(path), "after_header": str(path)} for path in missing]
    diff = [{**header, "before": "", "after": "installed\n"} for header in headers]
    module.exit_json(changed=any(changed) or bool(missing), missing=[path.name for path in missing], diff=diff)


if __name__ == "__main__":
    main()
