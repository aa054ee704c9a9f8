"""Key files: complete and readable by their owner alone, or absent; no message quotes their content."""

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
from frota.list import keys
from support import TIMEOUT_S, start_frota


def test_new_key_has_mode_0600(tmp_path: Path) -> None:
    """A new key is one hexadecimal line, readable by its owner alone, whatever the umask."""
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


def test_new_key_appears_complete_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key gets its name only when it is complete, on disk and private."""
    states: list[tuple[int, int, bool]] = []
    sync = os.fsync

    def look(handle: int) -> None:
        status = os.fstat(handle)
        states.append((stat.S_IMODE(status.st_mode), status.st_size, (tmp_path / "key").exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", look)
    keys.generate(tmp_path / "key")
    assert states[0] == (0o600, 65, False)
    assert states[1][2]
    assert len(states) == 2


def test_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot be written to disk leaves no file behind."""

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        keys.generate(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_keygen_overwrites_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`keygen` refuses to overwrite a key, and prints its public key with --public."""
    path = tmp_path / "key"
    assert cli.main(["list", "keygen", str(path)]) == 0
    public, secret = capsys.readouterr().out, path.read_bytes()
    assert cli.main(["list", "keygen", str(path)]) == 1
    assert f"frota: {path} exists, and no key is overwritten" in capsys.readouterr().err
    assert path.read_bytes() == secret
    assert list(tmp_path.iterdir()) == [path]
    assert cli.main(["list", "keygen", "--public", str(path)]) == 0
    assert capsys.readouterr().out == public


def test_keygen_in_missing_folder_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`keygen` names a folder that does not exist."""
    assert cli.main(["list", "keygen", str(tmp_path / "none" / "key")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"", b"abc", b"g" * 64, b"ab" * 33, b"ab" * 4096, b"\xff\xfe", b"ab cd" * 13])
def test_invalid_key_file_is_not_quoted(text: bytes, tmp_path: Path) -> None:
    """The error about an invalid key file does not quote its content."""
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(SettingsError, match="no secret key: must be one line of 64 hexadecimal digits") as caught:
        keys.read_secret(tmp_path / "key")
    assert not text or text.decode(errors="replace") not in str(caught.value)


def test_unreadable_key_file_exits_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key file that cannot be read ends a command with status 78 and the reason."""
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        assert cli.main(["list", "keygen", "--public", str(path)]) == 78
        assert f"frota: key file {path}: {reason}" in capsys.readouterr().err


@given(st.binary(min_size=32, max_size=32))
def test_hexadecimal_keys_equal_z85_keys(secret: bytes) -> None:
    """A hexadecimal key is the same key as ZeroMQ's in Z85."""
    assert z85.encode(keys.public_key(secret)) == zmq.curve_public(z85.encode(secret))
    assert keys.parse_key(f" {secret.hex().upper()}\n") == secret.hex()


@pytest.mark.parametrize("text", ["x", "ab" * 31, "ab" * 33, "-" * 64, "٣" * 64])
def test_invalid_key_text_is_rejected(text: str) -> None:
    """A key setting must be 64 hexadecimal digits."""
    with pytest.raises(ValueError, match="must be 64 hexadecimal digits"):
        keys.parse_key(text)


def test_byte_order_mark_and_crlf_are_ignored(tmp_path: Path) -> None:
    """A key that an editor on Windows has saved is the same key."""
    path = tmp_path / "key"
    keys.generate(path)
    secret = keys.read_secret(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().strip().upper() + b"\r\n")
    assert keys.read_secret(path) == secret


def test_key_of_zeros_is_rejected(tmp_path: Path) -> None:
    """A key of zeros is an uninitialized key, and rejected."""
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("0" * 64, encoding="ascii")
    with pytest.raises(SettingsError, match="no secret key"):
        keys.read_secret(tmp_path / "key")


def test_fifo_or_device_is_no_key_file(tmp_path: Path) -> None:
    """A FIFO or a device as key file is rejected at once, without blocking."""
    fifo = tmp_path / "key"
    os.mkfifo(fifo, 0o600)
    for command in (("keygen", "--public", fifo), ("serve", "--key-file", fifo, "--check")):
        process = start_frota("list", *command, stderr=subprocess.PIPE)
        _, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 78
        assert f"key file {fifo}: must be a regular file" in errors.decode()
    with pytest.raises(SettingsError, match="/dev/zero: must be a regular file"):
        keys.read_secret(Path("/dev/zero"))
