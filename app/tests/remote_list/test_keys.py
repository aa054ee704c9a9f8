"""Key files: there whole and for their owner alone, or not at all; and no message shows what one holds."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from frota import cli
from frota.core.settings import SettingsError
from frota.remote_list import keys
from support import PATIENCE, frota


def test_a_new_key_is_one_line_of_hexadecimal_for_its_owner_alone_whatever_the_umask_is(tmp_path: Path) -> None:
    for mask in (0o000, 0o022, 0o077):
        previous = os.umask(mask)
        try:
            public = keys.generate(tmp_path / f"{mask}.key")
        finally:
            os.umask(previous)
        path = tmp_path / f"{mask}.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(path.read_bytes()) == 65
        assert keys.public_key(keys.read_secret(path)).hex() == public
    assert len(list(tmp_path.iterdir())) == 3


def test_a_key_is_never_readable_by_others_nor_incomplete_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, bool]] = []
    sync = os.fsync

    def look(handle: int) -> None:
        found = os.fstat(handle)
        seen.append((stat.S_IMODE(found.st_mode), found.st_size, (tmp_path / "key").exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", look)
    keys.generate(tmp_path / "key")
    assert seen[0] == (0o600, 65, False)
    assert seen[1][2]
    assert len(seen) == 2


def test_a_key_that_could_not_be_put_on_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        keys.generate(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    assert cli.main(["list", "keygen", str(path)]) == 0
    public, secret = capsys.readouterr().out, path.read_bytes()
    assert cli.main(["list", "keygen", str(path)]) == 1
    assert f"frota: {path} exists, and no key is overwritten" in capsys.readouterr().err
    assert path.read_bytes() == secret
    assert list(tmp_path.iterdir()) == [path]
    assert cli.main(["list", "keygen", "--public", str(path)]) == 0
    assert capsys.readouterr().out == public


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "keygen", str(tmp_path / "none" / "key")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"", b"abc", b"g" * 64, b"ab" * 33, b"ab" * 4096, b"\xff\xfe", b"ab cd" * 13])
def test_a_file_that_holds_no_key_is_said_without_showing_what_it_holds(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(SettingsError, match="no secret key: must be one line of 64 hexadecimal digits") as told:
        keys.read_secret(tmp_path / "key")
    assert not text or text.decode(errors="replace") not in str(told.value)


def test_a_key_file_that_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        assert cli.main(["list", "keygen", "--public", str(path)]) == 78
        assert f"frota: key file {path}: {reason}" in capsys.readouterr().err


@given(st.binary(min_size=32, max_size=32))
def test_keys_are_the_ones_that_zeromq_knows_in_its_own_writing(secret: bytes) -> None:
    assert z85.encode(keys.public_key(secret)) == zmq.curve_public(z85.encode(secret))
    assert keys.parse_key(f" {secret.hex().upper()}\n") == secret.hex()


@pytest.mark.parametrize("text", ["x", "ab" * 31, "ab" * 33, "-" * 64, "٣" * 64])
def test_what_is_no_key_is_refused_as_one(text: str) -> None:
    with pytest.raises(ValueError, match="must be 64 hexadecimal digits"):
        keys.parse_key(text)


def test_a_key_that_an_editor_of_windows_has_saved_is_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keys.generate(path)
    secret = keys.read_secret(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().strip().upper() + b"\r\n")
    assert keys.read_secret(path) == secret


def test_a_key_of_zeros_is_none(tmp_path: Path) -> None:
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("0" * 64, encoding="ascii")
    with pytest.raises(SettingsError, match="no secret key"):
        keys.read_secret(tmp_path / "key")


def test_a_key_file_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "key"
    os.mkfifo(fifo, 0o600)
    for command in (("keygen", "--public", fifo), ("serve", "--key-file", fifo, "--check")):
        process = frota("list", *command, stderr=subprocess.PIPE)
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 78
        assert f"key file {fifo}: must be a regular file" in told.decode()
    with pytest.raises(SettingsError, match="/dev/zero: must be a regular file"):
        keys.read_secret(Path("/dev/zero"))
