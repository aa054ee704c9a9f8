"""The module `curve_key` without a host: generation, permissions and rotation of keys with the real command."""

import grp
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .modules import credentials, load

_MODULE = load("curve_key")
_FROTA = Path(sys.executable).with_name("frota")


class _Commands:
    """Runs commands like AnsibleModule."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode

    def run_command(self, words: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a missing key, in a folder whose group every user may set."""
    monkeypatch.setattr(credentials, "FOLDER_GROUP", grp.getgrgid(os.getegid()).gr_name)
    return tmp_path / "credentials" / "list.key"


def _keys(path: Path, state: str = "present", *, check_mode: bool = False, **params: Any) -> Any:
    options = {"path": str(path), "group": "root", "commands": [str(_FROTA)], "state": state, **params}
    return _MODULE.Keys(_Commands(check_mode), options)


def _play(path: Path, state: str = "present", **params: Any) -> Any:
    keys = _keys(path, state, **params)
    keys.apply()
    return keys


def _names(keys: Any) -> list[str]:
    return [Path(difference["after_header"]).name for difference in keys.diff()]


def test_key_is_generated_once(path: Path) -> None:
    """A key is generated once, readable by root only, and its public key is returned."""
    assert _names(_keys(path)) == ["credentials", "list.key"]
    keys = _play(path)
    secret = path.read_text()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o710)
    [public] = keys.public_keys()
    assert (
        public
        == subprocess.run(
            [_FROTA, "list", "keygen", "--public", path], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    assert list(keys.diff()) == []
    _play(path)
    assert path.read_text() == secret


def test_secret_keys_are_never_shown(path: Path) -> None:
    """Neither differences nor results contain a secret key."""
    _play(path)
    output = f"{list(_keys(path, 'next').diff())}{_play(path, 'next').public_keys()}"
    output += str(list(_keys(path, "switched").diff()))
    assert [key for key in path.parent.iterdir() if key.read_text().strip() in output] == []


def test_check_mode_on_a_bare_host(path: Path) -> None:
    """Check mode on a bare host creates nothing and returns no public key."""
    keys = _keys(path, check_mode=True, commands=["/nonexistent/frota"])
    assert (_names(keys), keys.public_keys()) == (["credentials", "list.key"], [])
    assert not path.parent.exists()


def test_next_key_replaces_the_current_one(path: Path) -> None:
    """The next key is generated beside the current one and replaces it once."""
    [first] = _play(path).public_keys()
    keys = _keys(path, "next")
    assert _names(keys) == ["list.key.next"]
    keys.apply()
    assert keys.public_keys()[0] == first
    [_, second] = keys.public_keys()
    preview = _keys(path, "switched", check_mode=True)
    assert (_names(preview), preview.public_keys()) == (["list.key"], [second])
    switched = _play(path, "switched")
    assert switched.public_keys() == [second]
    assert (list(switched.diff()), list(_keys(path).diff())) == ([], [])


def test_key_permissions_are_restored(path: Path) -> None:
    """Permissions that an interrupted run left wrong are reported and corrected."""
    _play(path)
    path.chmod(0o644)
    preview = _keys(path, check_mode=True)
    assert (_names(preview), preview.exposed(), preview.public_keys()) == (["list.key"], [path], [])
    assert list(_play(path).diff()) == []
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o400)
    assert (_names(_keys(path)), _keys(path).exposed()) == (["list.key"], [])


def test_first_existing_command_is_used(path: Path) -> None:
    """The first existing command is used; if there is none, the error names all of them."""
    assert _play(path, commands=["/nonexistent/frota", str(_FROTA)]).public_keys()
    with pytest.raises(_MODULE.Fault, match=r"None of /nonexistent/frota .*entry point `release`"):
        _keys(path, commands=["/nonexistent/frota"]).public_keys()


def test_invalid_key_is_an_error(path: Path) -> None:
    """An invalid key is never replaced; the error names the expected format."""
    _play(path)
    path.write_text("nothing\n")
    assert list(_keys(path).diff()) == []
    with pytest.raises(_MODULE.Fault, match="64 hexadecimal digits"):
        _keys(path).public_keys()
    assert path.read_text() == "nothing\n"
