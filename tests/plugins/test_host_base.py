"""The module `host_base` without a host: comparison, restarts, --diff."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .modules import load, load_action

_MODULE, _ACTION = load("host_base"), load_action("host_base")
_NOW = datetime.now(UTC)
_JOURNALD, _TIMESYNCD = "systemd-journald.service", "systemd-timesyncd.service"


def _timestamp(time: datetime) -> str:
    return f"{time:%a %Y-%m-%d %H:%M:%S.%f} UTC"


_RUNNING = {
    "ActiveState": "active",
    "InactiveExitTimestamp": _timestamp(_NOW),
    "ConditionResult": "yes",
    "ConditionTimestamp": _timestamp(_NOW),
}
_STOPPED = {**_RUNNING, "ActiveState": "inactive"}
_CONDITION_NOT_MET = {**_STOPPED, "ConditionResult": "no"}
_NEVER_STARTED = {**_STOPPED, "InactiveExitTimestamp": "", "ConditionResult": "no", "ConditionTimestamp": ""}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root folder of a bare host."""
    (tmp_path / "etc/systemd").mkdir(parents=True)
    return tmp_path


def _plan(root: Path, journal: str = "[Journal]\n", missing: tuple[str, ...] = (), **states: Any) -> Any:
    drop_ins = {"journald": journal, "timesyncd": "[Time]\n"}
    params = {"drop_ins": drop_ins, "time_zone": "Etc/UTC", "packages": []}
    units = {_JOURNALD: states.get("journald", _RUNNING), _TIMESYNCD: states.get("timesyncd", _RUNNING)}
    return _MODULE.Plan(params, units, list(missing), root)


def _apply(root: Path) -> None:
    """Apply the desired state, with modification times an hour before the start of the services."""
    _plan(root).apply()
    hour_ago = (_NOW - timedelta(hours=1)).timestamp()
    for path in (root / "etc/systemd").rglob("*.conf"):
        os.utime(path, (hour_ago, hour_ago))


def test_unchanged_host(root: Path) -> None:
    """A host in its desired state has no differences and no restarts."""
    _apply(root)
    assert (_plan(root).diff, _plan(root).restarted) == ([], [])


def test_bare_host(root: Path) -> None:
    """A bare host gets all files and the time zone, and both services are restarted."""
    plan = _plan(root)
    headers = [difference["after_header"].removeprefix(str(root)) for difference in plan.diff]
    drop_ins = [f"/etc/systemd/{name}.conf.d" for name in ("journald", "timesyncd")]
    assert headers == [*drop_ins, *(f"{folder}/frota.conf" for folder in drop_ins), "/etc/localtime", "systemd"]
    assert plan.restarted == [_JOURNALD, _TIMESYNCD]
    plan.apply()
    assert (root / "etc/localtime").readlink() == Path("/usr/share/zoneinfo/Etc/UTC")
    assert {path.read_text() for path in (root / "etc/systemd").rglob("*.conf")} == {"[Journal]\n", "[Time]\n"}


def test_changed_setting_restarts_its_service(root: Path) -> None:
    """A changed setting restarts the service that reads it, and --diff shows the exact content."""
    _apply(root)
    plan = _plan(root, journal="[Journal]\nStorage=persistent\n")
    assert plan.restarted == [_JOURNALD]
    assert (plan.diff[0]["before"], plan.diff[0]["after"]) == ("[Journal]\n", "[Journal]\nStorage=persistent\n")


def test_interrupted_restart_is_repeated(root: Path) -> None:
    """A restart that an interrupted run did not execute is planned again."""
    _apply(root)
    _plan(root, journal="[Journal]\nStorage=persistent\n").apply()
    os.utime(root / "etc/systemd/journald.conf.d/frota.conf", (_NOW.timestamp() + 1,) * 2)
    plan = _plan(root, journal="[Journal]\nStorage=persistent\n")
    assert (plan.entries, plan.restarted) == ([], [_JOURNALD])
    assert [difference["after"] for difference in plan.diff] == [f"restart {_JOURNALD}\n"]


@pytest.mark.parametrize(
    ("state", "restarted"),
    [
        pytest.param(_STOPPED, [_TIMESYNCD], id="stopped"),
        pytest.param(_NEVER_STARTED, [_TIMESYNCD], id="just installed"),
        pytest.param(_CONDITION_NOT_MET, [], id="start conditions not met"),
    ],
)
def test_stopped_service_is_started(root: Path, state: dict[str, str], restarted: list[str]) -> None:
    """A stopped service is started unless its start conditions are not met."""
    _apply(root)
    assert _plan(root, timesyncd=state).restarted == restarted


def test_mode_and_time_zone_are_restored(root: Path) -> None:
    """A wrong file mode and a wrong time zone are corrected without a restart."""
    _apply(root)
    file = root / "etc/systemd/journald.conf.d/frota.conf"
    file.chmod(0o600)
    (root / "etc/localtime").unlink()
    (root / "etc/localtime").write_text("not a link")
    plan = _plan(root)
    assert (len(plan.diff), plan.restarted) == (2, [])
    plan.apply()
    assert _plan(root).diff == []


def test_missing_packages() -> None:
    """Packages that are not installed, or only their configuration files, are missing."""
    listed = "one installed\ntwo config-files\nfour installed\n"
    assert _MODULE.missing_packages(["one", "two", "three"], listed) == ["two", "three"]


def test_missing_package_is_shown(root: Path) -> None:
    """--diff shows a missing package."""
    _apply(root)
    assert [difference["after"] for difference in _plan(root, missing=("hello",)).diff] == ["install hello\n"]


def test_lock_timeout() -> None:
    """The retries for apt's locks last ten minutes."""
    assert (_ACTION.LOCK_TIMEOUT_S, _ACTION.LOCK_TIMEOUT_S % _ACTION.RETRY_INTERVAL_S) == (600, 0)
