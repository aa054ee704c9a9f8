"""The module `mariadb_server` without a host: settings, actions, differences."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from .modules import load

_MODULE = load("mariadb_server")
_NOW = datetime.now(UTC).timestamp()
_CONF, _DROP_IN = "/etc/mysql/mariadb.conf.d/60-frota.cnf", "/etc/systemd/system/mariadb.service.d/frota.conf"
_CERTIFICATE = "/etc/frota/certificates/mariadb.crt"
_FILES = {_CONF: "[mariadbd]\n", _DROP_IN: "[Service]\n"}


def _unit(started: float = _NOW, active: str = "active", enabled: str = "enabled") -> dict[str, str]:
    timestamp = datetime.fromtimestamp(started, UTC).strftime("Fri %Y-%m-%d %H:%M:%S.%f UTC")
    return {
        "ActiveState": active,
        "UnitFileState": enabled,
        "InactiveExitTimestamp": timestamp,
        "NeedDaemonReload": "no",
    }


def _server(root: Path, **files: str) -> Any:
    return _MODULE.Server({"files": {**_FILES, **files}, "restart_files": [_CERTIFICATE]}, root)


def _plan(root: Path, unit: dict[str, str], **files: str) -> Any:
    return _MODULE.plan_for(_server(root, **files), unit)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root folder of a host whose server has its settings, which are an hour old."""
    for folder in ("etc/mysql", "etc/systemd/system", "etc/frota/certificates", "usr/lib/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system/mariadb.service").touch()
    (tmp_path / _CERTIFICATE.lstrip("/")).touch()
    for entry in _server(tmp_path).entries():
        entry.apply()
    for path in _server(tmp_path).read_at_start():
        os.utime(path, (_NOW - 3600, _NOW - 3600))
    return tmp_path


def test_running_server_with_its_settings_has_no_changes(root: Path) -> None:
    plan = _plan(root, _unit())
    assert (plan.action, list(plan.diff())) == ("", [])


@pytest.mark.parametrize(
    ("unit", "action"),
    [(_unit(active="failed"), "start"), (_unit(active="inactive"), "start"), (_unit(_NOW - 7200), "restart")],
)
def test_server_that_does_not_run_with_its_settings_is_started(root: Path, unit: dict[str, str], action: str) -> None:
    """A server that is not active, or started before its files last changed, is started again."""
    plan = _plan(root, unit)
    assert plan.action == action
    assert [item["after"] for item in plan.diff()] == [f"{action} mariadb.service\n"]


def test_changed_settings_restart_the_server(root: Path) -> None:
    """--diff shows the settings and the restart; the files are replaced once."""
    plan = _plan(root, _unit(), **{_CONF: "[mariadbd]\nport = 3307\n"})
    assert [item["before_header"].removeprefix(str(root)) for item in plan.diff()] == [_CONF, "systemd"]
    assert plan.action == "restart"
    for entry in plan.entries:
        entry.apply()
    assert _plan(root, _unit(), **{_CONF: "[mariadbd]\nport = 3307\n"}).entries == []


def test_renewed_certificate_restarts_the_server(root: Path) -> None:
    os.utime(root / _CERTIFICATE.lstrip("/"), (_NOW - 60, _NOW - 60))
    assert _plan(root, _unit(_NOW - 1800)).action == "restart"


def test_disabled_server_is_enabled_without_a_restart(root: Path) -> None:
    plan = _plan(root, _unit(enabled="disabled"))
    assert [item["after"] for item in plan.diff()] == ["enable mariadb.service\n"]


def test_host_without_mariadb(tmp_path: Path) -> None:
    """On a bare host every file and its folder are differences."""
    server = _server(tmp_path)
    assert not server.is_installed
    assert {entry.path.name for entry in server.entries()} == {
        "mariadb.conf.d",
        "mariadb.service.d",
        "60-frota.cnf",
        "frota.conf",
    }
