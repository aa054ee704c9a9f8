"""An instance that comes or goes is followed by the next site.yml, and by nothing else in the fleet."""

from collections.abc import Iterator
from typing import Any

import pytest

from .aws import client
from .fleet import Fleet
from .hosts import RECALL, until

pytestmark = pytest.mark.whole
_NAME = "sensor-9"
_PROVISION, _CONFIGURE = "playbooks/provision.yml", "playbooks/configure.yml"
_SENSORS = {"Sensor17", "Sensor18"}


@pytest.fixture(scope="module")
def ec2(fleet: Fleet) -> Any:
    """Give the EC2 API of the embedded AWS."""
    return client(fleet, "ec2")


@pytest.fixture(scope="module")
def ninth(fleet: Fleet, ec2: Any) -> Iterator[str]:
    """Give the instance id of a ninth sensor host, launched as a sibling of the first; it is gone afterwards."""
    instance = _launch(fleet, ec2, Name=_NAME)
    yield instance
    if _NAME in fleet.members:
        ec2.terminate_instances(InstanceIds=[instance])
        fleet.play("site.yml")
        fleet.read_inventory()


def _launch(fleet: Fleet, ec2: Any, **tags: str) -> str:
    """Launch a sibling of the first sensor host with these tags, an empty one for none, and return its id."""
    like = ec2.describe_instances(InstanceIds=[fleet.sensors[0].instance])["Reservations"][0]["Instances"][0]
    all_tags = {tag["Key"]: tag["Value"] for tag in like["Tags"] if not tag["Key"].startswith("aws:")} | tags
    given = [{"Key": key, "Value": value} for key, value in all_tags.items() if value]
    launched = ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        **{name: like[name] for name in ("ImageId", "InstanceType", "KeyName", "SubnetId")},
        TagSpecifications=[{"ResourceType": "instance", "Tags": given}],
    )
    return str(launched["Instances"][0]["InstanceId"])


def test_invalid_instances_change_nothing(fleet: Fleet, ec2: Any) -> None:
    """Instances that cannot be hosts are named before anything changes."""
    before, own = fleet.instances_of_hosts(), fleet.sensors[0]
    made = [
        _launch(fleet, ec2, Name=own.name),
        _launch(fleet, ec2, Name=""),
        _launch(fleet, ec2, Name="sensor-8", FrotaRole="sensor_clients"),
    ]
    try:
        for playbook in (_PROVISION, _CONFIGURE):
            with pytest.raises(AssertionError) as failed:
                fleet.play(playbook)
            said = str(failed.value)
            assert " and ".join(sorted([own.instance, made[0]])) in said
            assert f"{made[1]} has no name" in said
            assert "sensor-8 has the role sensor_clients" in said
        assert fleet.instances_of_hosts() == before
    finally:
        ec2.terminate_instances(InstanceIds=made)


def test_launched_instance(fleet: Fleet, ninth: str, start: float) -> None:
    """A launched instance becomes a sensor host, and no other host restarts anything."""
    before = fleet.invocations()
    fleet.play("site.yml")
    fleet.read_inventory()
    assert fleet.members[_NAME].instance == ninth
    until(lambda: fleet.numbers(start).keys() >= _SENSORS, "readings of the new host's sensors")
    assert {host for host, _ in fleet.restarted_since(before)} == {_NAME}


def test_killed_embedded_aws(fleet: Fleet, ec2: Any, ninth: str) -> None:
    """A killed embedded AWS recovers every instance."""
    known = _instances(ec2)
    assert ninth in known
    fleet.embedded_aws.run("systemctl kill --signal=KILL embedded-aws.service")
    fleet.embedded_aws.run("systemctl restart embedded-aws.service", RECALL)  # returns when it is ready
    assert _instances(ec2) == known


def test_stopped_instance(fleet: Fleet, ec2: Any, ninth: str) -> None:
    """The host of a stopped instance keeps its disk, and runs again when the instance is started."""
    host = fleet.members[_NAME]
    host.run("echo kept >/root/kept; sync")
    ec2.stop_instances(InstanceIds=[ninth])
    try:
        fleet.play(_PROVISION)
        assert ninth in fleet.instances_of_hosts()
        assert host.try_to_run("echo up") == ""
    finally:
        ec2.start_instances(InstanceIds=[ninth])
    fleet.play(_PROVISION)
    assert host.run("cat /root/kept") == "kept\n"


def _instances(ec2: Any) -> dict[str, tuple[str, str]]:
    """Return each instance's private address and state."""
    pages = ec2.get_paginator("describe_instances").paginate()
    found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
    return {one["InstanceId"]: (one.get("PrivateIpAddress", ""), one["State"]["Name"]) for one in found}


def test_terminated_instance(fleet: Fleet, ec2: Any, ninth: str) -> None:
    """The host of a terminated instance is removed, and no other host restarts anything."""
    before = fleet.invocations()
    assert ninth in fleet.instances_of_hosts()
    ec2.terminate_instances(InstanceIds=[ninth])
    fleet.play("site.yml")
    fleet.read_inventory()
    assert _NAME not in fleet.members
    assert fleet.instances_of_hosts() == {host.instance for host in fleet.hosts}
    assert {host for host, _ in fleet.restarted_since(before)} == {_NAME}
