"""The module `service_unit` without a host: comparison, plan, env files."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from .modules import load

_NOW = datetime.now(UTC).timestamp()
_UNIT, _INSTANCES = "frota-example.service", {"left": {"answer": 1}, "right": {}}


_MODULE = load("service_unit")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root folder of a host with releases and without services."""
    for folder in ("etc/frota", "etc/systemd/system", "opt/frota/releases/old", "opt/frota/releases/new"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def _service(root: Path, **params: Any) -> Any:
    options: dict[str, Any] = {
        "name": "frota-example",
        "home": "/opt/frota",
        "release": "new",
        "executable": "frota",
        "arguments": "",
    }
    options |= {"unit": "[Service]\n", "socket": "", "settings": {}, "prefix": "EXAMPLE_", "instances": None}
    return _MODULE.Service({**options, "restart_on": [], "checks_settings": True, **params}, root)


def _state(**differences: Any) -> Any:
    return _MODULE.State(**{"active": True, "enabled": True, "started": _NOW, "needs_reload": False, **differences})


def _plan(service: Any, **states: Any) -> Any:
    running = {unit: _state() for unit in [*service.units, *service.sockets]}
    return _MODULE.Plan(service, running | {unit.replace("__", "@"): state for unit, state in states.items()})


def _apply(service: Any) -> None:
    """Apply the desired files and link, with modification times an hour before the start of the units."""
    plan = _plan(service)
    for path, text in plan.files.items():
        _MODULE.write(path, text, _MODULE.own_access(_MODULE.FILE_MODE))
    _MODULE.replace_link(service.current, service.release)
    for path in [*service.files(), service.current]:
        os.utime(path, (_NOW - 3600, _NOW - 3600), follow_symlinks=False)


def test_unchanged_service(root: Path) -> None:
    """A service in its desired state has no changes."""
    service = _service(root, socket="[Socket]\n", settings={"port": 5000})
    _apply(service)
    plan = _plan(service)
    assert not plan.changes
    assert (plan.restarted, plan.stopped, list(plan.diff())) == ([], [], [])


def test_bare_host(root: Path) -> None:
    """A bare host gets every file, and all units are enabled and started."""
    service = _service(root, instances=_INSTANCES)
    plan = _MODULE.Plan(service, {unit: _state(active=False, enabled=False, started=0) for unit in service.units})
    assert {str(path.relative_to(root)) for path in plan.files} == {
        "etc/frota/frota-example@left.env",
        "etc/frota/frota-example@right.env",
        "etc/systemd/system/frota-example@.service",
    }
    assert plan.switches_release
    assert plan.restarted == plan.disabled == ["frota-example@left.service", "frota-example@right.service"]


def test_changed_instance_is_restarted(root: Path) -> None:
    """A changed setting of an instance restarts only this instance."""
    _apply(_service(root, instances=_INSTANCES))
    plan = _plan(_service(root, instances={**_INSTANCES, "left": {"answer": 2}}))
    assert plan.restarted == ["frota-example@left.service"]
    [difference] = [diff for diff in plan.diff() if diff["before_header"].endswith("left.env")]
    assert 'EXAMPLE_ANSWER="1"' in difference["before"]
    assert 'EXAMPLE_ANSWER="2"' in difference["after"]


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"unit": "[Service]\nType=notify\n"}, id="unit file"),
        pytest.param({"release": "old"}, id="release"),
        pytest.param({"restart_on": ["0123"]}, id="digest"),
    ],
)
def test_shared_change_restarts_all_instances(root: Path, params: dict[str, Any]) -> None:
    """A change of the unit file, the release or a restart trigger restarts all instances."""
    _apply(_service(root, instances=_INSTANCES))
    assert len(_plan(_service(root, instances=_INSTANCES, **params)).restarted) == 2


def test_changed_socket_is_restarted(root: Path) -> None:
    """A changed socket is restarted; other changes leave it open."""
    _apply(_service(root, socket="[Socket]\n"))
    assert _plan(_service(root, socket="[Socket]\nBacklog=1\n")).restarts_sockets
    changed = _plan(_service(root, socket="[Socket]\n", settings={"answer": 1}))
    assert (changed.restarts_sockets, changed.restarted) == (False, [_UNIT])


@pytest.mark.parametrize("newer", ["etc/frota/frota-example.env", f"etc/systemd/system/{_UNIT}", "opt/frota/current"])
def test_interrupted_restart_is_repeated(root: Path, newer: str) -> None:
    """A unit that started before the last change of its files is restarted."""
    service = _service(root)
    _apply(service)
    os.utime(root / newer, (_NOW + 1, _NOW + 1), follow_symlinks=False)
    assert _plan(service).restarted == [_UNIT]


def test_stopped_and_disabled_units(root: Path) -> None:
    """A stopped unit is started; a disabled one is enabled without a restart."""
    service = _service(root)
    _apply(service)
    assert _MODULE.Plan(service, {_UNIT: _state(active=False)}).restarted == [_UNIT]
    disabled = _MODULE.Plan(service, {_UNIT: _state(enabled=False)})
    assert (disabled.restarted, disabled.disabled, disabled.changes) == ([], [_UNIT], True)


def test_file_mode_is_restored(root: Path) -> None:
    """A wrong file mode is corrected without a restart."""
    service = _service(root)
    _apply(service)
    service.env_file(_UNIT).chmod(0o600)
    plan = _plan(service)
    assert (plan.with_wrong_access, plan.restarted, plan.changes) == ([service.env_file(_UNIT)], [], True)
    assert "mode 0600" in next(plan.diff())["before"]


def test_unwanted_instance_is_stopped(root: Path) -> None:
    """An unwanted instance is stopped; instances of other services are not."""
    _apply(_service(root, instances=_INSTANCES))
    _apply(_service(root, name="frota-example-two", instances=_INSTANCES))
    plan = _plan(_service(root, instances={"right": {}}))
    assert (plan.stopped, plan.restarted) == (["frota-example@left.service"], [])


@pytest.mark.parametrize("text", ['a "b"', "$HOME", "`id`", "a\\b", "é°", "", " a "])
def test_setting_is_escaped(root: Path, text: str) -> None:
    """A shell reads a setting exactly as it was written."""
    line = _service(root, settings={"text": text}).settings("").splitlines()[-1]
    assert os.popen(f'{line}; printf %s "$EXAMPLE_TEXT"').read() == text  # sh quotes as systemd.exec(5) does here


@pytest.mark.parametrize("text", ["a\nb", "a\0", "\r"])
def test_multiline_setting_is_rejected(root: Path, text: str) -> None:
    """A setting with several lines is rejected by name."""
    with pytest.raises(_MODULE.Fault, match=r"^text='.*': a setting must be a single line$"):
        _service(root, settings={"text": text}).files()


def test_settings_are_sorted(root: Path) -> None:
    """Settings are written in alphabetical order."""
    services = _service(root, settings={"b": 1, "a": 2}), _service(root, settings={"a": 2, "b": 1})
    assert services[0].settings("") == services[1].settings("")


def test_unit_state_from_properties() -> None:
    """The state of a unit is parsed from its systemd properties."""
    running = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
    started = _MODULE.state_of({**running, "InactiveExitTimestamp": "Fri 2026-11-27 13:34:55.500000 UTC"})
    assert started == (True, True, datetime(2026, 11, 27, 13, 34, 55, 500000, UTC).timestamp(), False)
    never = {"ActiveState": "inactive", "UnitFileState": "", "NeedDaemonReload": "yes", "InactiveExitTimestamp": ""}
    assert _MODULE.state_of(never) == (False, False, 0.0, True)


def test_start_time_in_the_future_restarts(root: Path) -> None:
    """A unit whose start time is in the future is restarted."""
    service = _service(root)
    _apply(service)
    assert _plan(service, **{_UNIT: _state(started=_NOW + 86400)}).restarted == [_UNIT]
