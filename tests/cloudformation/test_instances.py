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


def test_the_launch_template_holds_nothing_whose_change_would_replace_a_host(launch_data: dict[str, Any]) -> None:
    held = [(name, key) for name, data in launch_data.items() for key in ("ImageId", "InstanceType") if key in data]
    assert held == []


def test_every_instance_is_launched_from_the_template_and_overrides_none_of_it(instances: dict[str, Any]) -> None:
    template = {
        "LaunchTemplateId": {"Ref": "HostTemplate"},
        "Version": {"Fn::GetAtt": ["HostTemplate", "LatestVersionNumber"]},
    }
    assert [name for name, instance in instances.items() if instance.get("LaunchTemplate") != template] == []
    assert [(name, key) for name, instance in instances.items() for key in TEMPLATE_ONLY if key in instance] == []


def test_every_instance_has_the_fleets_image_type_and_key(instances: dict[str, Any]) -> None:
    wanted = {key: {"Ref": key} for key in ("ImageId", "InstanceType", "KeyName")}
    assert [name for name, instance in instances.items() if not wanted.items() <= instance.items()] == []


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
        roles = [role.title().replace("_", "") for role in tag(instance, "FrotaRole").split()]
        wanted = [{"Ref": f"{group}SecurityGroup"} for group in ("Host", *roles)]
        assert instance["SecurityGroupIds"] == wanted, name


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


def test_there_is_one_server_of_each_kind_and_at_least_two_hosts_that_use_it(instances: dict[str, Any]) -> None:
    roles = Counter(role for instance in instances.values() for role in tag(instance, "FrotaRole").split())
    kinds = {role.rpartition("_")[0] for role in roles}
    assert kinds == {"sensor", "list"}
    assert {kind: roles[f"{kind}_server"] for kind in kinds} == dict.fromkeys(kinds, 1)
    assert [kind for kind in kinds if roles[f"{kind}_client"] < 2] == []
