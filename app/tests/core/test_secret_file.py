"""Files with secrets are rejected if others can read or replace them; the error has the fix."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from frota import cli
from frota.core import secret_file
from frota.core.settings import SettingsError
from support import run_frota

_GROUP = 4  # adm, which exists on every host
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a secret"
    path.write_text("x", encoding="ascii")
    return path


def rejection(path: Path) -> str:
    """Return why a file is rejected; nothing if it is accepted."""
    try:
        secret_file.check(path)
    except SettingsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("mode", "access", "fixed_mode"),
    [
        (0o644, "everybody can read", 0o600),
        (0o604, "everybody can read", 0o600),
        (0o640, "its group can read", 0o600),
        (0o660, "its group can replace", 0o600),
        (0o620, "its group can replace", 0o600),
        (0o602, "everybody can replace", 0o600),
        (0o666, "everybody can replace", 0o600),
        (0o777, "everybody can replace", 0o600),
        (0o444, "everybody can read", 0o600),
    ],
)
def test_shared_secret_is_rejected_with_the_fix(file: Path, mode: int, access: str, fixed_mode: int) -> None:
    """A secret that others can read or replace is rejected, and the error's command fixes it."""
    file.chmod(mode)
    error = rejection(file)
    assert f"{access} this secret" in error
    command = re.search(r"chmod \d+ '[^']+'", error)
    assert command
    subprocess.run(["sh", "-c", command[0]], check=True)
    assert rejection(file) == ""
    assert file.stat().st_mode & 0o777 == fixed_mode


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_private_secret_is_accepted(file: Path, mode: int) -> None:
    """A secret that only its owner can access is accepted."""
    file.chmod(mode)
    assert rejection(file) == ""


def test_missing_file_and_folder_are_not_checked(tmp_path: Path) -> None:
    """A missing file, a folder and a device are not checked here."""
    assert [rejection(path) for path in (tmp_path / "none", tmp_path, Path(os.devnull))] == ["", "", ""]


def test_symlink_is_checked_as_its_target(file: Path, tmp_path: Path) -> None:
    """A symbolic link is checked by the mode of its target."""
    file.chmod(0o644)
    (tmp_path / "link").symlink_to(file)
    assert "everybody can read" in rejection(tmp_path / "link")


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444])
def test_systemd_credential_is_accepted(file: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential of systemd is accepted with any mode."""
    file.chmod(mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    assert rejection(file) == ""


@as_root
def test_group_may_read_a_file_of_root(file: Path) -> None:
    """The group of a file of root may read it, and nothing more."""
    os.chown(file, 0, _GROUP)
    file.chmod(0o640)
    assert rejection(file) == ""
    for mode in (0o660, 0o644):
        file.chmod(mode)
        assert "chmod 640 " in rejection(file)


@as_root
def test_group_may_read_a_file_of_another_user(file: Path) -> None:
    """The group of another user's file may read it, but not everybody."""
    os.chown(file, 12345, 12345)
    file.chmod(0o640)
    assert rejection(file) == ""
    file.chmod(0o644)
    assert "everybody can read" in rejection(file)


def test_list_commands_reject_a_shared_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the list rejects a key that others can read."""
    key = tmp_path / "key"
    assert cli.main(["list", "keygen", str(key)]) == 0
    public = capsys.readouterr().out.strip()
    key.chmod(0o644)
    client = ["--key-file", str(key), "--server-key", public, "--port", "1", "--timeout", "0.1"]
    for words in (
        ["show", *client],
        ["show", *client, "--check"],
        ["menu", *client],
        ["watch", *client],
        ["keygen", "--public", str(key)],
        ["serve", "--port", "0", "--key-file", str(key), "--state-dir", str(tmp_path / "state")],
    ):
        done = run_frota("list", *words, stdin_data=b"1\n")
        assert done.returncode == 78
        assert f"chmod 600 {key}" in done.stderr


def test_images_commands_reject_a_shared_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of the images reject a key or password that others can read."""
    for name in ("ca", "crt", "key", "password"):
        (tmp_path / name).write_text("x", encoding="ascii")
        (tmp_path / name).chmod(0o644)
    files = [word for name in ("ca", "cert", "key") for word in (f"--{name}-file", str(tmp_path / name))]
    for words in (["send", "a.jpg"], ["status"], ["dead", "list"], ["serve"], ["work", "--bucket", "b"]):
        assert cli.main(["images", *words, *files, "--check"]) == 78
        assert f"chmod 600 {tmp_path / 'key'}" in capsys.readouterr().err
    for words in (["dead", "list"], ["serve"], ["work", "--bucket", "b"]):
        assert cli.main(["images", *words, "--password-file", str(tmp_path / "password"), "--check"]) == 78
        assert f"chmod 600 {tmp_path / 'password'}" in capsys.readouterr().err
