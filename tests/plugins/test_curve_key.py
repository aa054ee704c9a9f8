"""The module `curve_key` without a host: keys that the real command makes, who may read them, what is told of them."""

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
    """Runs commands as AnsibleModule does."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode

    def run_command(self, words: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file of a key that is not there yet, in a folder that everybody may give to its group."""
    monkeypatch.setattr(credentials, "FOLDER_GROUP", grp.getgrgid(os.getegid()).gr_name)
    return tmp_path / "credentials" / "list.key"


def _keys(path: Path, state: str = "present", *, check_mode: bool = False, **params: Any) -> Any:
    wanted = {"path": str(path), "group": "root", "commands": [str(_FROTA)], "state": state, **params}
    return _MODULE.Keys(_Commands(check_mode), wanted)


def _play(path: Path, state: str = "present", **params: Any) -> Any:
    keys = _keys(path, state, **params)
    keys.apply()
    return keys


def _names(keys: Any) -> list[str]:
    return [Path(difference["after_header"]).name for difference in keys.diff()]


def test_a_key_is_made_once_with_its_folder_for_root_alone_and_its_public_half_is_told(path: Path) -> None:
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


def test_no_secret_half_is_told_or_shown(path: Path) -> None:
    _play(path)
    told = f"{list(_keys(path, 'next').diff())}{_play(path, 'next').public_keys()}"
    told += str(list(_keys(path, "switched").diff()))
    assert [key for key in path.parent.iterdir() if key.read_text().strip() in told] == []


def test_a_preview_on_a_bare_host_makes_nothing_and_knows_no_public_half(path: Path) -> None:
    keys = _keys(path, check_mode=True, commands=["/nonexistent/frota"])
    assert (_names(keys), keys.public_keys()) == (["credentials", "list.key"], [])
    assert not path.parent.exists()


def test_a_key_that_is_to_follow_is_made_beside_the_one_in_use_and_takes_its_place_once(path: Path) -> None:
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


def test_a_key_whose_access_an_interrupted_run_did_not_set_is_put_right(path: Path) -> None:
    _play(path)
    path.chmod(0o644)
    preview = _keys(path, check_mode=True)
    assert (_names(preview), preview.exposed(), preview.public_keys()) == (["list.key"], [path], [])
    assert list(_play(path).diff()) == []
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o400)
    assert (_names(_keys(path)), _keys(path).exposed()) == (["list.key"], [])


def test_the_first_command_that_is_there_is_used_and_none_is_said(path: Path) -> None:
    assert _play(path, commands=["/nonexistent/frota", str(_FROTA)]).public_keys()
    with pytest.raises(_MODULE.Fault, match=r"None of /nonexistent/frota .*entry point `release`"):
        _keys(path, commands=["/nonexistent/frota"]).public_keys()


def test_a_key_that_is_none_is_not_replaced_and_the_command_says_why(path: Path) -> None:
    _play(path)
    path.write_text("nothing\n")
    assert list(_keys(path).diff()) == []
    with pytest.raises(_MODULE.Fault, match="64 hexadecimal digits"):
        _keys(path).public_keys()
    assert path.read_text() == "nothing\n"
