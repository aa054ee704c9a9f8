"""Instances that are launched, stopped or terminated: site.yml adds and removes their hosts only."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from .aws import client
from .fleet import Fleet
from .hosts import RECOVERY_TIMEOUT_S, until

pytestmark = pytest.mark.whole
_NAME = "sensor-9"
_PROVISION, _CONFIGURE = "playbooks/provision.yml", "playbooks/configure.yml"
_SENSORS = {"Sensor17", "Sensor18"}


@pytest.fixture(scope="module")
def ec2(fleet: Fleet) -> Any:
    """Give the EC2 API of the embedded AWS."""
    return client(fleet, "ec2")


class Launched(NamedTuple):
    """An instance that site.yml has configured: its id, the time before that, and the units that it restarted."""

    instance: str
    start: float
    restarted: set[tuple[str, str]]


@pytest.fixture(scope="module")
def launched_sensor(fleet: Fleet, ec2: Any) -> Iterator[Launched]:
    """Launch an instance like that of the first sensor host, and run site.yml; terminate it afterwards."""
    start, before = time.time(), fleet.invocations()
    instance = _launch(fleet, ec2, Name=_NAME)
    try:
        fleet.play("site.yml")
        fleet.read_inventory()
        yield Launched(instance, start, fleet.restarted_since(before))
    finally:
        ec2.terminate_instances(InstanceIds=[instance])
        if instance in fleet.instances_of_hosts():
            fleet.play("site.yml")
            fleet.read_inventory()


def _launch(fleet: Fleet, ec2: Any, **tags: str) -> str:
    """Launch an instance like that of the first sensor host; `tags` replaces tags, "" removes one. Return its id."""
    sibling = ec2.describe_instances(InstanceIds=[fleet.sensors[0].instance])["Reservations"][0]["Instances"][0]
    all_tags = {tag["Key"]: tag["Value"] for tag in sibling["Tags"] if not tag["Key"].startswith("aws:")} | tags
    tag_list = [{"Key": key, "Value": value} for key, value in all_tags.items() if value]
    launched = ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        **{name: sibling[name] for name in ("ImageId", "InstanceType", "KeyName", "SubnetId")},
        TagSpecifications=[{"ResourceType": "instance", "Tags": tag_list}],
    )
    return str(launched["Instances"][0]["InstanceId"])


def test_invalid_instances_change_nothing(fleet: Fleet, ec2: Any) -> None:
    """Instances that cannot be hosts are named before anything changes."""
    before, sensor = fleet.instances_of_hosts(), fleet.sensors[0]
    launched = [
        _launch(fleet, ec2, Name=sensor.name),
        _launch(fleet, ec2, Name=""),
        _launch(fleet, ec2, Name="sensor-8", FrotaRole="sensor_clients"),
    ]
    try:
        for playbook in (_PROVISION, _CONFIGURE):
            with pytest.raises(AssertionError) as failed:
                fleet.play(playbook)
            message = str(failed.value)
            assert " and ".join(sorted([sensor.instance, launched[0]])) in message
            assert f"{launched[1]} has no name" in message
            assert "sensor-8 has the role sensor_clients" in message
        assert fleet.instances_of_hosts() == before
    finally:
        ec2.terminate_instances(InstanceIds=launched)


def test_launched_instance(fleet: Fleet, launched_sensor: Launched) -> None:
    """A launched instance becomes a sensor host, and no other host restarts anything."""
    assert fleet.members[_NAME].instance == launched_sensor.instance
    until(lambda: fleet.numbers(launched_sensor.start).keys() >= _SENSORS, "no readings of the new host's sensors")
    assert {host for host, _ in launched_sensor.restarted} == {_NAME}


def test_killed_embedded_aws(fleet: Fleet, ec2: Any, launched_sensor: Launched) -> None:
    """A killed embedded AWS recovers every instance."""
    before = _instances(ec2)
    assert launched_sensor.instance in before
    fleet.embedded_aws.run("systemctl kill --signal=KILL embedded-aws.service")
    fleet.embedded_aws.run("systemctl restart embedded-aws.service", RECOVERY_TIMEOUT_S)  # returns when it is ready
    assert _instances(ec2) == before


def test_stopped_instance(fleet: Fleet, ec2: Any, launched_sensor: Launched) -> None:
    """The host of a stopped instance keeps its disk, and runs again when the instance is started."""
    host = fleet.members[_NAME]
    host.run("echo kept >/root/kept; sync")
    ec2.stop_instances(InstanceIds=[launched_sensor.instance])
    try:
        fleet.play(_PROVISION)
        assert launched_sensor.instance in fleet.instances_of_hosts()
        assert host.try_to_run("echo up") == ""
    finally:
        ec2.start_instances(InstanceIds=[launched_sensor.instance])
    fleet.play(_PROVISION)
    assert host.run("cat /root/kept") == "kept\n"


def _instances(ec2: Any) -> dict[str, tuple[str, str]]:
    """Return each instance's private address and state."""
    pages = ec2.get_paginator("describe_instances").paginate()
    instances = [item for page in pages for reservation in page["Reservations"] for item in reservation["Instances"]]
    return {item["InstanceId"]: (item.get("PrivateIpAddress", ""), item["State"]["Name"]) for item in instances}


def test_terminated_instance(fleet: Fleet, ec2: Any, launched_sensor: Launched) -> None:
    """The host of a terminated instance is removed, and no other host restarts anything."""
    before = fleet.invocations()
    assert launched_sensor.instance in fleet.instances_of_hosts()
    ec2.terminate_instances(InstanceIds=[launched_sensor.instance])
    fleet.play("site.yml")
    fleet.read_inventory()
    assert _NAME not in fleet.members
    assert fleet.instances_of_hosts() == {host.instance for host in fleet.hosts}
    assert {host for host, _ in fleet.restarted_since(before)} == {_NAME}
