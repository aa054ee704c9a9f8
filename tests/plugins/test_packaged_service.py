"""The module `packaged_service` without a host: settings, actions, differences."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from .modules import load

_MODULE = load("packaged_service")
_NOW = datetime.now(UTC).timestamp()
_CONF, _DROP_IN = "/etc/mysql/mariadb.conf.d/60-frota.cnf", "/etc/systemd/system/mariadb.service.d/frota.conf"
_LIVE = "/etc/mysql/live"
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
    return _MODULE.Service(
        {
            "units": ["mariadb.service"],
            "live_files": {_LIVE: "1\n"},
            "files": {**_FILES, **files},
            "restart_files": [_CERTIFICATE],
        },
        root,
    )


def _plan(root: Path, unit: dict[str, str], **files: str) -> Any:
    return _MODULE.plan_for(_server(root, **files), {"mariadb.service": unit})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root folder of a host whose server has its settings, which are an hour old."""
    for folder in ("etc/mysql", "etc/systemd/system", "etc/frota/certificates", "usr/lib/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system/mariadb.service").touch()
    (tmp_path / _CERTIFICATE.lstrip("/")).touch()
    service = _server(tmp_path)
    for entry in [*service.entries(), *service.entries("live_files")]:
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


def test_changed_live_file_restarts_nothing(root: Path) -> None:
    """A file that the service watches is replaced, and its new time does not restart the service either."""
    (root / _LIVE.lstrip("/")).write_text("2\n")
    plan = _plan(root, _unit(_NOW - 1800))
    assert plan.action == ""
    assert [item["after"] for item in plan.diff()] == ["1\n"]


def test_units_of_a_socket_restart_together(root: Path) -> None:
    """A service whose socket is inactive is restarted with it; one that has neither is started."""
    (root / "usr/lib/systemd/system/mariadb.socket").touch()
    units = ["mariadb.socket", "mariadb.service"]
    service = _MODULE.Service({"units": units, "files": {}, "live_files": {}, "restart_files": []}, root)
    states = {"mariadb.socket": _unit(active="inactive"), "mariadb.service": _unit()}
    plan = _MODULE.plan_for(service, states)
    assert [item["after"] for item in plan.diff()] == ["restart mariadb.socket\nrestart mariadb.service\n"]
    assert service.action(dict.fromkeys(units, _unit(active="inactive")), changes=False) == "start"


def test_service_is_installed_with_all_of_its_units(root: Path) -> None:
    units = ["mariadb.service", "own.service"]
    service = _MODULE.Service({"units": units, "files": {}}, root)
    own = _MODULE.Service({"units": units, "files": {"/etc/systemd/system/own.service": "[Service]\n"}}, root)
    assert (service.is_installed, own.is_installed) == (False, True)


def test_host_without_mariadb(tmp_path: Path) -> None:
    """On a bare host every file and its folder are differences."""
    service = _server(tmp_path)
    assert not service.is_installed
    assert {entry.path.name for entry in service.entries()} == {
        "mariadb.conf.d",
        "mariadb.service.d",
        "60-frota.cnf",
        "frota.conf",
    }
