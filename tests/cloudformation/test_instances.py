"""How the hosts are made, as written in the templates: bare, hardened, tagged, each where it belongs."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Resources = Callable[..., dict[str, Any]]

# What only the launch template may say: an instance that gave one of these itself would escape the template's tests.
TEMPLATE_ONLY = ("BlockDeviceMappings", "MetadataOptions", "IamInstanceProfile", "NetworkInterfaces", "Volumes")


@pytest.fixture
def instances(resources: Resources) -> dict[str, Any]:
    """The properties of every instance."""
    found = resources("AWS::EC2::Instance")
    assert found
    return found


@pytest.fixture
def pools(resources: Resources) -> dict[str, Any]:
    """The properties of every Auto Scaling group."""
    found = resources("AWS::AutoScaling::AutoScalingGroup")
    assert found
    return found


@pytest.fixture
def launch_data(resources: Resources) -> dict[str, Any]:
    """The launch data of every launch template."""
    found = resources("AWS::EC2::LaunchTemplate")
    assert found
    return {name: template["LaunchTemplateData"] for name, template in found.items()}


def keys_in(tree: Any) -> Iterator[str]:
    """Every key of a parsed template, at any depth."""
    if isinstance(tree, dict):
        yield from tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from keys_in(branch)


def camel(role: str) -> str:
    return role.title().replace("_", "")


def template_of(name: str, host: dict[str, Any]) -> str:
    """The launch template of an instance or group, with its stack."""
    return f"{name.partition('.')[0]}.{host['LaunchTemplate']['LaunchTemplateId']['Ref']}"


def tag(instance: dict[str, Any], key: str) -> Any:
    return next((tag["Value"] for tag in instance.get("Tags", []) if tag["Key"] == key), None)


def test_no_host_is_given_user_data(stacks: dict[str, Any]) -> None:
    assert [stack for stack, template in stacks.items() if "UserData" in keys_in(template)] == []


def test_every_launch_template_requires_imdsv2_and_answers_nobody_behind_the_host(launch_data: dict[str, Any]) -> None:
    wanted = {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert {name for name, data in launch_data.items() if data.get("MetadataOptions") != wanted} == set()


def test_every_disk_is_encrypted_gp3_and_goes_with_its_host(launch_data: dict[str, Any]) -> None:
    for name, data in launch_data.items():
        disks = [mapping["Ebs"] for mapping in data["BlockDeviceMappings"]]
        wrong = [
            disk
            for disk in disks
            if (disk.get("VolumeType"), disk.get("Encrypted"), disk.get("DeleteOnTermination")) != ("gp3", True, True)
        ]
        assert disks, f"{name} leaves the root disk to the image"
        assert wrong == [], name


def newest(template: str) -> dict[str, Any]:
    """A launch template in its newest version."""
    return {"LaunchTemplateId": {"Ref": template}, "Version": {"Fn::GetAtt": [template, "LatestVersionNumber"]}}


def test_no_launch_template_of_an_instance_holds_anything_whose_change_would_replace_it(
    launch_data: dict[str, Any],
) -> None:
    data = {name: one for name, one in launch_data.items() if name.startswith("hosts.")}
    held = [(name, key) for name, one in data.items() for key in ("ImageId", "InstanceType", "KeyName") if key in one]
    assert data
    assert held == []


def test_every_instance_is_launched_from_a_template_beside_it_and_overrides_none_of_it(
    instances: dict[str, Any], launch_data: dict[str, Any]
) -> None:
    for name, instance in instances.items():
        template = instance["LaunchTemplate"]["LaunchTemplateId"]["Ref"]
        assert f"{name.partition('.')[0]}.{template}" in launch_data, name
        assert instance["LaunchTemplate"] == newest(template), name
    assert [(name, key) for name, instance in instances.items() for key in TEMPLATE_ONLY if key in instance] == []


def test_every_host_has_the_fleets_image_and_key_and_a_type_that_is_a_parameter(
    instances: dict[str, Any], pools: dict[str, Any], launch_data: dict[str, Any]
) -> None:
    launched = {**instances, **{name: launch_data[template_of(name, pool)] for name, pool in pools.items()}}
    wanted = {key: {"Ref": key} for key in ("ImageId", "KeyName")}
    assert [name for name, host in launched.items() if not wanted.items() <= host.items()] == []
    assert [name for name, host in launched.items() if not host["InstanceType"]["Ref"].endswith("InstanceType")] == []


def test_a_host_has_the_profile_of_its_first_role_if_there_is_one(
    instances: dict[str, Any], pools: dict[str, Any], launch_data: dict[str, Any], stacks: dict[str, Any]
) -> None:
    profiles = set(stacks["access"]["Outputs"])
    for name, host in {**instances, **pools}.items():
        own = f"{camel(tag(host, 'FrotaRole').split()[0])}Profile"
        wanted = own if own in profiles else "HostProfile"
        assert launch_data[template_of(name, host)]["IamInstanceProfile"] == {"Arn": {"Ref": wanted}}, name


def test_the_broker_has_room_for_its_queues(instances: dict[str, Any], launch_data: dict[str, Any]) -> None:
    brokers = {name: one for name, one in instances.items() if tag(one, "FrotaRole") == "broker"}
    assert brokers
    for name, broker in brokers.items():
        assert [
            disk["Ebs"]["VolumeSize"] for disk in launch_data[template_of(name, broker)]["BlockDeviceMappings"]
        ] == [20]


def test_every_instance_stands_in_a_subnet_of_the_fleet(instances: dict[str, Any], stacks: dict[str, Any]) -> None:
    subnets = {
        name
        for name, resource in stacks["network"]["Resources"].items()
        if resource["Type"] == "AWS::EC2::Subnet" and stacks["network"]["Outputs"][name]["Value"] == {"Ref": name}
    }
    used = {instance.get("SubnetId", {}).get("Ref") for instance in instances.values()}
    assert used == subnets


def test_the_subnets_are_in_two_zones_and_two_parts_of_the_range(resources: Resources) -> None:
    subnets = resources("AWS::EC2::Subnet").values()
    assert len({str(subnet["AvailabilityZone"]) for subnet in subnets}) == 2
    assert len({str(subnet["CidrBlock"]) for subnet in subnets}) == 2


def test_every_instance_carries_the_group_of_all_hosts_and_of_each_of_its_roles(instances: dict[str, Any]) -> None:
    for name, instance in instances.items():
        assert instance["SecurityGroupIds"] == groups_of(instance), name


def groups_of(host: dict[str, Any]) -> list[dict[str, str]]:
    roles = [camel(role) for role in tag(host, "FrotaRole").split()]
    return [{"Ref": f"{group}SecurityGroup"} for group in ("Host", *roles)]


def test_every_launch_template_carries_the_group_of_all_hosts(launch_data: dict[str, Any]) -> None:
    assert [
        name for name, data in launch_data.items() if {"Ref": "HostSecurityGroup"} not in data["SecurityGroupIds"]
    ] == []


def test_the_hosts_of_a_group_come_from_the_template_beside_it_and_carry_what_their_roles_say(
    pools: dict[str, Any], launch_data: dict[str, Any]
) -> None:
    for name, pool in pools.items():
        template = template_of(name, pool)
        assert pool["LaunchTemplate"] == newest(template.partition(".")[2]), name
        assert launch_data[template]["SecurityGroupIds"] == groups_of(pool), name


def test_a_group_may_be_empty_has_an_end_and_stands_in_every_subnet(
    pools: dict[str, Any], stacks: dict[str, Any]
) -> None:
    subnets = [
        {"Ref": name} for name, one in stacks["network"]["Resources"].items() if one["Type"] == "AWS::EC2::Subnet"
    ]
    for name, pool in pools.items():
        assert (pool["MinSize"], pool["MaxSize"]) == ("0", "8"), name
        assert pool["VPCZoneIdentifier"] == subnets, name


def test_no_update_of_a_stack_sets_the_size_of_a_group_back(pools: dict[str, Any]) -> None:
    assert [name for name, pool in pools.items() if "DesiredCapacity" in pool] == []


def test_a_group_names_nothing_whose_change_would_make_the_embedded_aws_replace_its_hosts(
    pools: dict[str, Any],
) -> None:
    named = {name for pool in pools.values() for name in references(pool)}
    assert named <= {"FleetName", "SubnetOne", "SubnetTwo", "ImageWorkerTemplate"}


def references(tree: Any) -> Iterator[str]:
    """What a parsed template refers to, at any depth."""
    if isinstance(tree, dict):
        if "Ref" in tree:
            yield tree["Ref"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from references(branch)


def test_the_hosts_of_a_group_are_tagged_with_what_the_inventory_needs_and_have_no_name_of_their_own(
    pools: dict[str, Any],
) -> None:
    for name, pool in pools.items():
        assert [one["Key"] for one in pool["Tags"]] == ["Fleet", "FrotaRole", "FrotaPool"], name
        assert [one["Key"] for one in pool["Tags"] if one.get("PropagateAtLaunch") is not True] == [], name
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", tag(pool, "FrotaPool")), name


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("Name", r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"),
        ("FrotaRole", r"[a-z]+(_[a-z]+)*( [a-z]+(_[a-z]+)*)*"),
    ],
)
def test_every_instance_is_tagged_with_a_host_name_and_inventory_groups(
    instances: dict[str, Any], key: str, pattern: str
) -> None:
    assert [name for name, instance in instances.items() if not re.fullmatch(pattern, str(tag(instance, key)))] == []


def test_no_two_instances_have_the_same_name(instances: dict[str, Any]) -> None:
    names = Counter(tag(instance, "Name") for instance in instances.values())
    assert [name for name, times in names.items() if times > 1] == []


def test_there_is_one_server_of_each_kind_and_at_least_two_hosts_that_use_it(
    instances: dict[str, Any], pools: dict[str, Any]
) -> None:
    roles = Counter(role for host in (*instances.values(), *pools.values()) for role in tag(host, "FrotaRole").split())
    servers = ("sensor_server", "list_server", "cpu_server", "image_producer", "broker")
    users = ("sensor_client", "list_client", "image_client")
    assert {role: roles[role] for role in servers} == dict.fromkeys(servers, 1)
    assert [role for role in users if roles[role] < 2] == []
    assert set(roles) == {*servers, *users, "image_worker"}
