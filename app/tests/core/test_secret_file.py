"""Files with secrets: those that others may read or replace are refused, by a sentence that mends them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from frota import cli
from frota.core import secret_file
from frota.core.settings import SettingsError
from support import ran

_SHARED = 4  # adm, to whom a fleet's hosts give the keys of their people
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a secret"
    path.write_text("x", encoding="ascii")
    return path


@pytest.mark.parametrize(
    ("mode", "who", "mended"),
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
def test_a_secret_for_others_is_refused_and_what_is_said_mends_it(file: Path, mode: int, who: str, mended: int) -> None:
    file.chmod(mode)
    with pytest.raises(SettingsError, match=f"{who} this secret") as told:
        secret_file.check(file)
    command = re.search(r"chmod \d+ '[^']+'", str(told.value))
    assert command
    subprocess.run(["sh", "-c", command[0]], check=True)
    secret_file.check(file)
    assert file.stat().st_mode & 0o777 == mended


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_secret_for_its_owner_is_taken(file: Path, mode: int) -> None:
    file.chmod(mode)
    secret_file.check(file)


def test_what_is_not_there_or_no_file_is_for_others_to_complain_about(tmp_path: Path) -> None:
    secret_file.check(tmp_path / "none")
    secret_file.check(tmp_path)
    secret_file.check(Path(os.devnull))


def test_a_link_is_as_secret_as_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    file.chmod(0o644)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(SettingsError, match="everybody can read"):
        secret_file.check(tmp_path / "link")


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444])
def test_what_systemd_hands_over_has_the_mode_that_it_gives(
    file: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    secret_file.check(file)


@as_root
def test_a_group_that_was_given_the_file_by_root_may_read_it_and_no_more(file: Path) -> None:
    os.chown(file, 0, _SHARED)
    file.chmod(0o640)
    secret_file.check(file)
    for mode in (0o660, 0o644):
        file.chmod(mode)
        with pytest.raises(SettingsError, match="chmod 640 "):
            secret_file.check(file)


@as_root
def test_another_users_file_that_we_may_read_is_for_that_user_to_share(file: Path) -> None:
    os.chown(file, 12345, 12345)
    file.chmod(0o640)
    secret_file.check(file)
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="everybody can read"):
        secret_file.check(file)


def test_every_command_of_the_list_refuses_a_key_that_is_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
        done = ran("list", *words, given=b"1\n")
        assert done.returncode == 78
        assert f"chmod 600 {key}" in done.stderr


def test_the_commands_of_the_images_refuse_a_private_key_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
