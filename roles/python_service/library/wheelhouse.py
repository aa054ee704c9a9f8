#!/usr/bin/python3
"""Build, on the control node, the one archive from which hosts install a release offline."""

import hashlib
import subprocess
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: wheelhouse
short_description: One content-addressed archive of wheels for the hosts' Python
description:
  - Downloads the wheels of a hash-locked requirements file for another Python and architecture, builds the wheel of a
    project besides, and packs both into C(DEST/RELEASE.tar). Archives that nobody wanted for a month are removed.
  - The release's name holds a digest of all that goes into it, so what has not changed is not built again.
options:
  requirements: {type: path, required: true, description: Hash-locked requirements file.}
  project: {type: path, description: Folder of a Python project with a pyproject.toml; its wheel is added.}
  dest: {type: path, required: true, description: Folder of the archives.}
  python: {type: path, required: true, description: The control node's Python with pip and the project's build backend.}
  python_version: {type: str, required: true, description: The hosts' Python, such as 3.13.}
  platforms: {type: list, elements: str, required: true, description: Wheel platform tags the hosts accept.}
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
release: {type: str, returned: always, description: Name of the release, VERSION-DIGEST or DIGEST.}
archive: {type: path, returned: always, description: The archive.}
"""


KEPT_SECONDS = 30 * 86400  # after an archive was last wanted; what is rolled back to is on the hosts


def project_files(project: Path) -> list[Path]:
    """What the project's wheel is made from, in a stable order."""
    sources = (path for path in (project / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [project / "pyproject.toml", *sorted(sources)]


def release_name(params: dict) -> str:
    digest = hashlib.sha256(repr((params["python_version"], params["platforms"])).encode())
    digest.update(Path(params["requirements"]).read_bytes())
    version = ""
    if params["project"]:
        project = Path(params["project"])
        for path in project_files(project):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(project)}\0{len(content)}\0".encode() + content)
        version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"] + "-"
    return version + digest.hexdigest()[:12]


def gather(params: dict, folder: Path) -> None:
    """Put the wheels and the requirements file into the folder."""
    pip = (params["python"], "-m", "pip", "--disable-pip-version-check")
    platforms = [f"--platform={platform}" for platform in params["platforms"]]
    python = f"--python-version={params['python_version']}"
    download = (*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", python, *platforms)
    run(*download, f"--dest={folder}", "--require-hashes", f"--requirement={params['requirements']}")
    (folder / "requirements.txt").write_bytes(Path(params["requirements"]).read_bytes())
    if params["project"]:
        wheel = (*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
        run(*wheel, f"--wheel-dir={folder / 'project'}", params["project"])


def prune(folder: Path, archive: Path) -> None:
    """Note that the archive was wanted, and remove those that were not for long."""
    archive.touch()
    for path in folder.glob("*.tar"):
        if path.stat().st_mtime < time.time() - KEPT_SECONDS:
            path.unlink()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def pack(folder: Path, archive: Path) -> None:
    """Write the archive under its name only when it is whole."""
    unfinished = archive.with_suffix(".unfinished")
    with tarfile.open(unfinished, "w") as tar:
        tar.add(folder, arcname=archive.stem)
    unfinished.replace(archive)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "requirements": {"type": "path", "required": True},
            "project": {"type": "path"},
            "python": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "python_version": {"type": "str", "required": True},
            "platforms": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    release = release_name(module.params)
    archive = Path(module.params["dest"]) / f"{release}.tar"
    missing = not archive.exists()
    if missing and not module.check_mode:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            try:
                gather(module.params, Path(folder))
            except subprocess.CalledProcessError as error:
                module.fail_json(msg=f"{' '.join(error.cmd[2:5])} failed:\n{error.stderr.strip()}")
            pack(Path(folder), archive)
    if not module.check_mode:
        prune(archive.parent, archive)
    module.exit_json(changed=missing, release=release, archive=str(archive))


if __name__ == "__main__":
    main()
