"""The modules of the role `local_host` without a host: ranges in a network namespace, and a fake podman."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .modules import PLUGINS, load

_MODULE = load("address_range")
_REMOVALS = PLUGINS / "modules" / "interrupted_removals.py"
_FIRST, _SECOND = "10.42.0.0/16", "10.43.0.0/16"


class _Namespace:
    """Runs commands like AnsibleModule, in a network namespace without routes."""

    def __init__(self, holder: int) -> None:
        self._enter = ["nsenter", f"--target={holder}", "--user", "--net", "--preserve-credentials"]

    def run_command(self, words: list[str]) -> tuple[int, str, str]:
        done = subprocess.run([*self._enter, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def ip(self, *words: str) -> str:
        code, out, err = self.run_command(["ip", *words])
        assert code == 0, err
        return out


@pytest.fixture
def network() -> Iterator[_Namespace]:
    """Yield a network namespace, which exists as long as the process in it."""
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("users may not create network namespaces here")
        yield _Namespace(holder.pid)
        holder.stdin.close()


def _range(network: _Namespace, file: Path, cidr: str = "") -> Any:
    return _MODULE.Range(network, {"file": str(file), "cidr": cidr})


def _reserved(network: _Namespace) -> list[str]:
    return [line.split()[1] for line in network.ip("route", "show", "type", "unreachable").splitlines()]


def test_first_free_range_is_reserved(network: _Namespace, tmp_path: Path) -> None:
    """The first free range is reserved once and stored."""
    file = tmp_path / "fleet.cidr"
    assert _range(network, file).diff(_FIRST, reserved=True) != []
    assert _range(network, file).reserve(check_mode=False) == _FIRST
    assert (file.read_text(), _reserved(network)) == (f"{_FIRST}\n", [_FIRST])
    second_range = _range(network, file)
    assert (second_range.reserve(check_mode=False), second_range.diff(_FIRST, reserved=True)) == (_FIRST, [])


def test_check_mode_reserves_nothing(network: _Namespace, tmp_path: Path) -> None:
    """Check mode returns the same range and reserves nothing."""
    assert _range(network, tmp_path / "fleet.cidr").reserve(check_mode=True) == _FIRST
    assert (_reserved(network), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("used", ["10.42.7.0/24", "10.42.0.0/15", _FIRST])
def test_range_in_use_is_skipped(network: _Namespace, tmp_path: Path, used: str) -> None:
    """A range that overlaps with another route than the default one is not free."""
    network.ip("route", "add", "blackhole", used)
    network.ip("route", "add", "blackhole", "default")
    expected = "10.44.0.0/16" if used.endswith("/15") else _SECOND
    assert _range(network, tmp_path / "fleet.cidr").reserve(check_mode=False) == expected


def test_requested_range_in_use_is_an_error(network: _Namespace, tmp_path: Path) -> None:
    """A requested range that is in use is an error, and nothing is stored."""
    network.ip("route", "add", "blackhole", "10.77.1.0/24")
    with pytest.raises(_MODULE.Fault, match=r"10\.77\.0\.0/16 is in use on this machine\. See: ip route"):
        _range(network, tmp_path / "fleet.cidr", "10.77.0.0/16").reserve(check_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_stored_range_is_reserved_again(network: _Namespace, tmp_path: Path) -> None:
    """A stored range is reserved again after a restart of the machine."""
    (tmp_path / "fleet.cidr").write_text("10.99.0.0/16\n")
    stored = _range(network, tmp_path / "fleet.cidr")
    [difference] = stored.diff(stored.reserve(check_mode=True), reserved=True)
    assert (difference["before"], difference["after"]) == ("", "unreachable 10.99.0.0/16\n")
    assert stored.reserve(check_mode=False) == "10.99.0.0/16"
    assert _reserved(network) == ["10.99.0.0/16"]


def test_released_range_is_free(network: _Namespace, tmp_path: Path) -> None:
    """A released range is free, and a second release changes nothing."""
    _range(network, tmp_path / "fleet.cidr").reserve(check_mode=False)
    reserved = _range(network, tmp_path / "fleet.cidr")
    assert len(reserved.diff(_FIRST, reserved=False)) == 2
    reserved.release()
    assert (_reserved(network), list(tmp_path.iterdir())) == ([], [])
    released = _range(network, tmp_path / "fleet.cidr")
    assert released.diff(released.stored, reserved=False) == []


@pytest.mark.parametrize(
    ("listed", "check_mode", "removed", "calls"),
    [
        pytest.param("", False, [], 1, id="none"),
        pytest.param("one\ntwo\n", False, ["one", "two"], 2, id="two"),
        pytest.param("one\n", True, ["one"], 1, id="check mode"),
    ],
)
def test_interrupted_removals_are_completed(
    tmp_path: Path, listed: str, check_mode: bool, removed: list[str], calls: int
) -> None:
    """Containers whose removal was interrupted are removed, except in check mode."""
    podman = tmp_path / "podman"
    podman.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n[ "$1" != ps ] || printf \'{listed}\'\n')
    podman.chmod(0o755)
    arguments = {"executable": str(podman), "label": "frota_network=fleet", "_ansible_check_mode": check_mode}
    done = subprocess.run(
        [sys.executable, _REMOVALS],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert (result["removed"], result["changed"]) == (removed, removed != [])
    called = (tmp_path / "calls").read_text().splitlines()
    assert called[0] == "ps --all --quiet --filter status=removing --filter label=frota_network=fleet"
    assert called[1:] == (["rm --force --volumes one two"] if calls == 2 else [])
