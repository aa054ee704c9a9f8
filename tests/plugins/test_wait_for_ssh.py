"""The action `wait_for_ssh` on hosts that start slowly or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In ssh's place: fails like ssh while the file `starting` has lines left, and runs the command afterwards.
_SSH = """#!/bin/sh
cd "$(dirname "$0")"
case " $* " in *" -O "*) exit 255 ;; esac
if [ -s starting ]; then
  sed -i 1d starting
  echo "ssh: connect to host example port 22: Connection refused" >&2
  exit 255
fi
for command; do :; done
exec sh -c "$command"
"""


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """Give a program in ssh's place."""
    program = tmp_path / "ssh"
    program.write_text(_SSH, encoding="utf-8")
    program.chmod(0o755)
    return program


def _wait(root: Path, ssh: Path, timeout_s: int) -> "subprocess.CompletedProcess[str]":
    """Wait for a host as a task does."""
    words = ["-i", "example,", "example", "-m", "wait_for_ssh", "-a", f"timeout={timeout_s}"]
    environ = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_SSH_EXECUTABLE": str(ssh)}
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible")), *words, "-e", "ansible_become=false"],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_host_that_starts(root: Path, ssh: Path) -> None:
    """A host that refuses two connections is reached at the third attempt."""
    (ssh.parent / "starting").write_text("first\nsecond\n", encoding="utf-8")
    done = _wait(root, ssh, 60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "attempts: 3" in done.stdout


def test_host_that_never_starts(root: Path, ssh: Path) -> None:
    """A host that accepts no connection in time is unreachable, with ssh's reason."""
    (ssh.parent / "starting").write_text("no\n" * 1000, encoding="utf-8")
    done = _wait(root, ssh, 1)
    assert "UNREACHABLE" in done.stdout
    assert "no SSH within 1 s: " in done.stdout
    assert "Connection refused" in done.stdout
