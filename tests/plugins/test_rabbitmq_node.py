"""The module `rabbitmq_node` without a host: states, settings, actions."""

import os
import pwd
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from .modules import load

_MODULE = load("rabbitmq_node")
_NOW = datetime.now(UTC).timestamp()
_CONF, _DEFINITIONS = "/etc/rabbitmq/rabbitmq.conf", "/etc/rabbitmq/definitions.json"
_DROP_IN = "/etc/systemd/system/rabbitmq-server.service.d/frota.conf"
_FILES = {_CONF: "heartbeat = 30\n", _DEFINITIONS: "{}\n", _DROP_IN: "[Service]\n"}


def _unit(started: float, active: str = "active") -> dict[str, str]:
    timestamp = datetime.fromtimestamp(started, UTC).strftime("Fri %Y-%m-%d %H:%M:%S.%f UTC")
    return {"ActiveState": active, "InactiveExitTimestamp": timestamp}


def _node(root: Path, **params: Any) -> Any:
    options = {"node": "rabbit@one", "state": "configured", "files": _FILES, "live_files": [_DEFINITIONS], "cookie": ""}
    return _MODULE.Node({**options, **params}, root)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return the root folder of a host without RabbitMQ."""
    for folder in ("etc/rabbitmq", "etc/systemd/system", "usr/lib/systemd/system", "var/lib/rabbitmq/mnesia"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def blank(bare: Path) -> Path:
    """Return the root folder of a host whose node has no data."""
    (bare / "usr/lib/systemd/system/rabbitmq-server.service").touch()
    return bare


@pytest.fixture
def root(blank: Path) -> Path:
    """Return the root folder of a host whose node has data, and settings that are an hour old."""
    (blank / "var/lib/rabbitmq/mnesia/rabbit@one").mkdir()
    (blank / "etc/frota/credentials").mkdir(parents=True)
    (blank / "etc/frota/credentials/rabbitmq.key").touch()
    node = _node(blank)
    node.write()
    for path in [*node.files(), blank / "etc/frota/credentials/rabbitmq.key"]:
        os.utime(path, (_NOW - 3600, _NOW - 3600))
    return blank


def test_states_in_order(bare: Path) -> None:
    """A node is bare, then blank, then stopped, then running."""
    stopped = {"ActiveState": "inactive", "InactiveExitTimestamp": ""}
    assert _node(bare).state(stopped) == ("bare", [])
    (bare / "usr/lib/systemd/system/rabbitmq-server.service").touch()
    assert _node(bare).state(stopped) == ("blank", [])
    (bare / "var/lib/rabbitmq/mnesia/rabbit@one").mkdir()
    assert _node(bare).state(stopped) == ("stopped", [])
    _node(bare).write()
    assert _node(bare).state(_unit(time.time() + 30)) == ("running", [])


def test_data_of_another_node_name(root: Path) -> None:
    """A node with data of another node name only is blank."""
    assert _node(root, node="rabbit@two").state(_unit(_NOW)) == ("blank", [])


@pytest.mark.parametrize(
    "newer",
    [
        _CONF,
        _DROP_IN,
        "/etc/rabbitmq/advanced.config",
        "/etc/systemd/system/epmd.socket.d/frota.conf",
        "/etc/frota/credentials/rabbitmq.key",
    ],
)
def test_interrupted_restart_is_repeated(root: Path, newer: str) -> None:
    """A file that changed after the node's start makes the node outdated."""
    file = root / newer.lstrip("/")
    file.parent.mkdir(exist_ok=True)
    file.touch()
    os.utime(file, (_NOW, _NOW))
    assert _node(root).state(_unit(_NOW - 60)) == ("outdated", [str(file)])
    assert _node(root).state(_unit(_NOW + 1)) == ("running", [])


def test_definitions_need_no_restart(root: Path) -> None:
    """Changed definitions do not make a node outdated."""
    node = _node(root, files={**_FILES, _DEFINITIONS: '{"users": []}\n'})
    assert node.state(_unit(_NOW)) == ("running", [])
    node.write()
    assert node.state(_unit(_NOW - 60)) == ("running", [])


def test_check_mode_reports_outdated_nodes(root: Path) -> None:
    """Check mode reports a node whose settings would change as outdated."""
    node = _node(root, files={**_FILES, _CONF: "heartbeat = 29\n"})
    assert node.state(_unit(_NOW)) == ("outdated", [str(root / _CONF.lstrip("/"))])
    [difference] = _MODULE.diff(node, "")
    assert (difference["before"], difference["after"]) == ("heartbeat = 30\n", "heartbeat = 29\n")
    [difference] = _MODULE.diff(_node(root, state="current", files={**_FILES, _CONF: "heartbeat = 29\n"}), "restart")
    assert difference["after"] == "restart rabbitmq-server.service\n"


def test_clock_ahead_restarts_once(root: Path) -> None:
    """A start in the future makes a node outdated; a file from the future does not."""
    state, [reason] = _node(root).state(_unit(_NOW + 86400))
    assert (state, reason.startswith("the clock was ahead")) == ("outdated", True)
    os.utime(root / _CONF.lstrip("/"), (_NOW + 86400, _NOW + 86400))
    assert _node(root).state(_unit(_NOW)) == ("running", [])


def test_unchanged_node(root: Path) -> None:
    """A node in its desired state has no differences."""
    assert list(_MODULE.diff(_node(root), "")) == []


def test_file_mode_is_restored(root: Path) -> None:
    """A wrong file mode is corrected without a restart."""
    file = root / _CONF.lstrip("/")
    file.chmod(0o600)
    node = _node(root)
    assert node.state(_unit(_NOW)) == ("running", [])
    [difference] = _MODULE.diff(node, "")
    assert (difference["before"], difference["after"]) == ("mode 0600\n", "mode 0644\n")
    node.write()
    assert file.stat().st_mode & 0o7777 == 0o644


def test_cookie_is_written_to_blank_nodes_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Erlang cookie is written to a blank node; a node with data keeps its own."""
    monkeypatch.setattr(_MODULE, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)  # the test's user
    assert not _node(root, cookie="secret").lacks_cookie()
    (root / "var/lib/rabbitmq/mnesia/rabbit@one").rmdir()
    node = _node(root, cookie="secret")
    assert [difference["after"] for difference in _MODULE.diff(node, "")] == ["the cookie of the cluster\n"]
    node.write()
    assert node.cookie_file.read_text() == "secret"
    assert node.cookie_file.stat().st_mode & 0o7777 == 0o400
    assert list(_MODULE.diff(node, "")) == []


@pytest.mark.parametrize(
    ("desired", "actions"),
    [
        ("configured", ["", "", "", "", ""]),
        ("started", ["", "start", "start", "", ""]),
        ("current", ["", "start", "start", "restart", ""]),
    ],
)
def test_actions_for_states(desired: str, actions: list[str]) -> None:
    """A node is started or restarted only if this is requested and necessary."""
    states = ("bare", "blank", "stopped", "outdated", "running")
    assert [_MODULE.action_for(desired, state) for state in states] == actions
