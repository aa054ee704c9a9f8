"""Prints the deployed state of a host as JSON. The host's Python runs it as root."""

import json
import subprocess
from pathlib import Path

FILES = (
    "etc/frota/**/*",
    "etc/systemd/system/frota-*",
    "etc/systemd/*.conf.d/frota.conf",
    "etc/rabbitmq/**/*",
    "etc/systemd/system/rabbitmq-server.service.d/*",
    "etc/systemd/system/epmd.socket.d/*",
    "var/lib/rabbitmq/.erlang.cookie",
    "opt/frota/current/bin/frota",
    "opt/frota/current/ready",
    "opt/frota/current/pyvenv.cfg",
)
CERTIFICATES = ("etc/frota/certificates/*.crt",)
LINKS = ("opt/frota/current", "usr/local/bin/frota", "etc/localtime", "etc/systemd/system/*.wants/frota-*")
FOLDERS = (
    *("etc/frota", "etc/frota/*/", "etc/systemd/*.conf.d", "opt/frota", "opt/frota/releases", "opt/frota/releases/*"),
    *("opt/frota/libraries", "opt/frota/libraries/*", "var/log/journal"),
)
UNITS = (
    *("ssh.service", "systemd-journald.service", "systemd-timesyncd.service"),
    *("rabbitmq-server.service", "epmd.socket"),
)
PACKAGES = ("python3", "sudo", "openssh-server", "systemd-timesyncd", "rabbitmq-server", "libturbojpeg0")


def find(patterns: tuple[str, ...]) -> list[Path]:
    """Return the paths that match, without duplicates."""
    return sorted({path for pattern in patterns for path in Path("/").glob(pattern)})


def content(path: Path) -> str | None:
    """Return the text of a file, None if not everybody may read it, since keys must not leave the host."""
    return path.read_text(encoding="utf-8") if path.stat().st_mode & 0o004 else None


def describe(path: Path) -> dict[str, str]:
    """Return a path with its mode and owner, in the format of chmod(1) and chown(1)."""
    return {"path": str(path), "mode": f"{path.stat().st_mode & 0o7777:o}", "user": path.owner(), "group": path.group()}


def active(patterns: tuple[str, ...]) -> list[str]:
    """Return the names of the active units."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", *patterns]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(line.split()[0] for line in lines)


def enabled(unit: str) -> bool:
    """Return whether a unit is enabled; a static unit never is."""
    command = ["systemctl", "is-enabled", unit]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip() == "enabled"


def installed(packages: tuple[str, ...]) -> list[str]:
    """Return the names of the installed packages."""
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Package}\n", *packages]
    lines = subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
    return sorted(line.split()[1] for line in lines if line.startswith("ii"))


def state() -> dict[str, object]:
    """Return the files, certificates, links, folders, units and packages of this host."""
    files = [path for path in find(FILES) if path.is_file() and not path.is_symlink()]
    folders = [path for path in find(FOLDERS) if path.is_dir() and not path.is_symlink()]
    return {
        # Resolved: the files of a release keep their path when another release becomes current.
        "files": [{**describe(path.resolve()), "content": content(path)} for path in files],
        "certificates": [str(path) for path in find(CERTIFICATES)],
        "links": [{"path": str(path), "target": str(path.readlink())} for path in find(LINKS) if path.is_symlink()],
        "folders": [describe(path) for path in folders],
        "units": {unit: enabled(unit) for unit in active(("frota-*.service", "frota-*.socket", *UNITS))},
        "packages": installed(PACKAGES),
    }


if __name__ == "__main__":
    print(json.dumps(state()))
