"""Hosts that stand for a fleet's: `ssh` runs the command in a real shell, with programs of the host's own first."""

import shlex
from pathlib import Path

import pytest

_SSH = """#!/bin/sh
while [ "$1" != -- ]; do
  case $1 in -F) config=$2 ;; esac
  shift
done
[ -r "$config" ] || exit 9
[ -d {hosts}/"$2" ] || {{ echo "ssh: connect to host $2 port 22: No route to host" >&2; exit 255; }}
PATH={hosts}/$2:$PATH exec sh -c "$3"
"""


class Hosts:
    """The hosts, in a folder with a checkout that has their SSH configuration."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checkout, self._hosts = folder / "checkout", folder / "hosts"
        self.ssh_config = self.checkout / ".local/ssh/config"
        self.ssh_config.parent.mkdir(parents=True)
        self.ssh_config.write_text("Host *\n  User admin\n")
        self._hosts.mkdir()
        self.write(folder / "bin" / "ssh", _SSH.format(hosts=shlex.quote(str(self._hosts))))
        monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
        monkeypatch.chdir(self.checkout)

    def add(self, name: str, *, up: bool = True, **programs: str) -> None:
        """Add a host; each program is the text of a shell script."""
        with self.ssh_config.open("a") as file:
            file.write(f"Host {name}\n  HostName 127.0.0.1\n")
        if up:
            (self._hosts / name).mkdir()
        for program, script in programs.items():
            self.write(self._hosts / name / program, f"#!/bin/sh\n{script}\n")

    def called(self, name: str, program: str) -> list[str]:
        """Return the arguments of a program that was made by `recording`."""
        return (self._hosts / name / f"{program}.called").read_text().splitlines()

    def recording(self, name: str, program: str, output: str, status: int = 0) -> str:
        """Return a script that prints an output, and keeps its arguments."""
        called = shlex.quote(str(self._hosts / name / f"{program}.called"))
        return f"printf '%s\\n' \"$@\" >{called}; cat <<'END'\n{output}\nEND\nexit {status}"

    @staticmethod
    def write(path: Path, script: str) -> None:
        """Write a program."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
