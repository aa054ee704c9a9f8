"""Instances that would merge, vanish or stay bare without a word are named, with what to do."""

import importlib.util
from typing import Any

import pytest

from .checkout import PLAYBOOKS, ROOT, load
from .test_stacks import _hosts_of, _roles_of_instances

_SPEC = importlib.util.spec_from_file_location(
    "instance_faults", ROOT / "roles" / "stacks" / "filter_plugins" / "instance_faults.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

_NEEDS = load(ROOT / "roles" / "stacks" / "vars" / "main.yml")["_stacks_roles"]


def _instance(number: int, state: str = "running", **tags: str) -> dict[str, Any]:
    return {"instance_id": f"i-{number}", "state": {"name": state}, "tags": {"FrotaRole": "cpu_server", **tags}}


def _faults(*instances: dict[str, Any]) -> list[str]:
    faults: list[str] = _MODULE.instance_faults(list(instances), _NEEDS)
    return faults


def test_valid_instances() -> None:
    """A fleet whose instances have names and roles has no fault."""
    named = [_instance(number, Name=role.replace("_", "-"), FrotaRole=role) for number, role in enumerate(_NEEDS)]
    pool = [_instance(number, FrotaRole="image_worker", FrotaPool="image-worker") for number in (100, 101)]
    assert _faults(*named, *pool) == []


@pytest.mark.parametrize(
    ("tags", "messages"),
    [
        pytest.param([{"Name": "one"}, {"Name": "one"}], ["i-0 and i-1", "the same name one"], id="the same name"),
        pytest.param([{"Name": "one"}, {"Name": "One"}], ["i-0 and i-1", "the same name one"], id="but for capitals"),
        pytest.param([{}], ["i-0", "no name", "tag Name"], id="no name"),
        pytest.param([{"Name": ""}], ["i-0", "no name"], id="an empty name"),
        pytest.param([{"Name": "web server"}], ["i-0", "'web server'", "letters, digits"], id="a name with a space"),
        pytest.param([{"Name": "a=b,c"}], ["i-0", "'a=b,c'"], id="a name that the allow-list would part"),
        pytest.param([{"Name": "n" * 64}], ["i-0", "63"], id="a name that is too long"),
        pytest.param([{"Name": "broker"}], ["i-0", "'broker'", "group"], id="the name of a group"),
        pytest.param([{"Name": "localhost"}], ["i-0", "'localhost'"], id="the control node's name"),
        pytest.param([{"Name": "one", "FrotaRole": "sensr"}], ["one", "sensr", "sensor_client"], id="an unknown role"),
        pytest.param([{"Name": "one", "FrotaRole": ""}], ["one", "FrotaRole", "none"], id="no role"),
        pytest.param([{"Name": "one", "FrotaRole": "cpu_server,broker"}], ["cpu_server,broker", "spaces"], id="commas"),
        pytest.param(
            [{"Name": "one", "FrotaRole": "list_client cpu_server"}],
            ["list_server", "list_client depends"],
            id="nobody",
        ),
    ],
)
def test_invalid_instances(tags: list[dict[str, str]], messages: list[str]) -> None:
    """An instance that cannot be a host is named, with what to do."""
    text = " ".join(_faults(*(_instance(number, **instance_tags) for number, instance_tags in enumerate(tags))))
    assert [word for word in messages if word not in text] == []


@pytest.mark.parametrize("manager", ["aws:cloudformation:stack-name", "aws:autoscaling:groupName"])
def test_faults_of_launched_instances(manager: str) -> None:
    """Before the stacks are updated, only faults count that no update can mend."""
    managed = [_instance(1, Name="one", **{manager: "x"}), _instance(2, FrotaRole="sensr", **{manager: "x"})]
    lacks_a_role = _instance(3, Name="three", FrotaRole="list_client")
    assert len(_faults(*managed, lacks_a_role)) == 3
    assert _MODULE.launched_faults([*managed, lacks_a_role], _NEEDS) == []
    launched = [_instance(4, Name="one"), _instance(5), _instance(6, Name="six", FrotaRole="sensr")]
    report = " ".join(_MODULE.launched_faults([*managed, *launched], _NEEDS))
    for text in ("i-1 and i-4 have the same name", "i-5 has no name", "six has the role sensr"):
        assert text in report
    assert "i-2" not in report


def test_name_of_an_auto_scaling_group() -> None:
    """Instances that inherit the Name tag of their Auto Scaling group are rejected, with what to do."""
    shared = {"Name": "worker", "aws:autoscaling:groupName": "frota-image-worker"}
    faults = _faults(_instance(1, **shared), _instance(2, **shared))
    assert faults
    assert [fault for fault in faults if "frota-image-worker" not in fault or "FrotaPool" not in fault] == []


def test_name_of_a_stopped_instance() -> None:
    """A stopped instance may have the name of a running one."""
    assert _faults(_instance(1, Name="one"), _instance(2, "stopped", Name="one")) == []


@pytest.mark.parametrize(
    ("tags", "called"), [({"Name": "one", "FrotaPool": "pool"}, "one"), ({"Name": "", "FrotaPool": "pool"}, "pool-i-1")]
)
def test_host_names(tags: dict[str, str], called: str) -> None:
    """The host of an instance has its name in the inventory."""
    instance = {**_instance(1, **tags), "private_ip_address": "10.42.1.9"}
    where = {"address": "10.42.1.9", "instance": "i-1"}
    assert _MODULE.instance_host(instance, {}) == {"name": called, **where, "packages": []}


def test_host_packages() -> None:
    """The host of an instance starts from the image with the packages of its roles."""
    instance = {**_instance(1, FrotaRole="broker image_worker list_server"), "private_ip_address": "10.42.1.9"}
    packages = {"broker": ["b", "a"], "image_worker": ["b", "c"], "sensor_client": ["d"]}
    assert _MODULE.instance_host(instance, packages)["packages"] == ["a", "b", "c"]


def test_known_roles() -> None:
    """The known roles are the groups of plays and the FrotaRole tags of templates."""
    plays = {_hosts_of(play) for path in PLAYBOOKS for play in load(path) or [] if "hosts" in play}
    assert set(_NEEDS) == _roles_of_instances()
    assert set(_NEEDS) <= plays
    assert {needed for roles in _NEEDS.values() for needed in roles} <= set(_NEEDS)
