"""The hosts in the templates: instances, Auto Scaling groups and launch templates."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Resources = Callable[..., dict[str, Any]]

# Properties that only launch templates may have, because the tests of the launch templates check them.
TEMPLATE_ONLY = ("BlockDeviceMappings", "MetadataOptions", "IamInstanceProfile", "NetworkInterfaces", "Volumes")


@pytest.fixture
def instances(resources: Resources) -> dict[str, Any]:
    """Return the properties of every instance."""
    instances = resources("AWS::EC2::Instance")
    assert instances
    return instances


@pytest.fixture
def groups(resources: Resources) -> dict[str, Any]:
    """Return the properties of every Auto Scaling group."""
    groups = resources("AWS::AutoScaling::AutoScalingGroup")
    assert groups
    return groups


@pytest.fixture
def launch_data(resources: Resources) -> dict[str, Any]:
    """Return the launch data of every launch template."""
    templates = resources("AWS::EC2::LaunchTemplate")
    assert templates
    return {name: template["LaunchTemplateData"] for name, template in templates.items()}


def keys_in(tree: Any) -> Iterator[str]:
    """Yield every key of a parsed template, at any depth."""
    if isinstance(tree, dict):
        yield from tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from keys_in(branch)


def camel(role: str) -> str:
    return role.title().replace("_", "")


def template_of(name: str, host: dict[str, Any]) -> str:
    """Return the launch template of an instance or group as `stack.LogicalId`."""
    return f"{name.partition('.')[0]}.{host['LaunchTemplate']['LaunchTemplateId']['Ref']}"


def tag(instance: dict[str, Any], key: str) -> Any:
    return next((tag["Value"] for tag in instance.get("Tags", []) if tag["Key"] == key), None)


def test_no_user_data(stacks: dict[str, Any]) -> None:
    """No host has user data."""
    assert [stack for stack, template in stacks.items() if "UserData" in keys_in(template)] == []


def test_imdsv2_is_required(launch_data: dict[str, Any]) -> None:
    """Every launch template requires IMDSv2 and limits its responses to the host itself."""
    expected = {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert {name for name, data in launch_data.items() if data.get("MetadataOptions") != expected} == set()


def test_disks_are_encrypted_gp3(launch_data: dict[str, Any]) -> None:
    """Every disk is an encrypted gp3 volume that is deleted with its host."""
    for name, data in launch_data.items():
        disks = [mapping["Ebs"] for mapping in data["BlockDeviceMappings"]]
        wrong = [
            disk
            for disk in disks
            if (disk.get("VolumeType"), disk.get("Encrypted"), disk.get("DeleteOnTermination")) != ("gp3", True, True)
        ]
        assert disks, f"{name} has no root disk"
        assert wrong == [], name


def newest(template: str) -> dict[str, Any]:
    """Return the reference to the newest version of a launch template."""
    return {"LaunchTemplateId": {"Ref": template}, "Version": {"Fn::GetAtt": [template, "LatestVersionNumber"]}}


def test_no_template_property_replaces_an_instance(
    launch_data: dict[str, Any],
) -> None:
    """Launch templates of instances have no property whose change would replace the instance."""
    templates = {name: data for name, data in launch_data.items() if name.startswith("hosts.")}
    replacing = ("ImageId", "InstanceType", "KeyName")
    assert templates
    assert [(name, key) for name, data in templates.items() for key in replacing if key in data] == []


def test_instances_override_nothing(instances: dict[str, Any], launch_data: dict[str, Any]) -> None:
    """Every instance uses the newest launch template of its stack and overrides none of its properties."""
    for name, instance in instances.items():
        template = instance["LaunchTemplate"]["LaunchTemplateId"]["Ref"]
        assert f"{name.partition('.')[0]}.{template}" in launch_data, name
        assert instance["LaunchTemplate"] == newest(template), name
    assert [(name, key) for name, instance in instances.items() for key in TEMPLATE_ONLY if key in instance] == []


def test_image_key_and_type_are_parameters(
    instances: dict[str, Any], groups: dict[str, Any], launch_data: dict[str, Any]
) -> None:
    """Every host has the fleet's image and key, and a type from a parameter."""
    launched = {**instances, **{name: launch_data[template_of(name, group)] for name, group in groups.items()}}
    expected = {key: {"Ref": key} for key in ("ImageId", "KeyName")}
    assert [name for name, host in launched.items() if not expected.items() <= host.items()] == []
    assert [name for name, host in launched.items() if not host["InstanceType"]["Ref"].endswith("InstanceType")] == []


def test_profile_of_the_first_role(
    instances: dict[str, Any], groups: dict[str, Any], launch_data: dict[str, Any], stacks: dict[str, Any]
) -> None:
    """A host has the instance profile of its first role, or else the one without permissions."""
    profiles = set(stacks["access"]["Outputs"])
    for name, host in {**instances, **groups}.items():
        own = f"{camel(tag(host, 'FrotaRole').split()[0])}Profile"
        expected = own if own in profiles else "HostProfile"
        assert launch_data[template_of(name, host)]["IamInstanceProfile"] == {"Arn": {"Ref": expected}}, name


def test_database_is_on_a_host_or_managed(stacks: dict[str, Any], resources: Resources) -> None:
    """A parameter decides between a host and RDS: there is one of them, never both."""
    template = stacks["hosts-peers"]
    conditions = {
        name: resource["Condition"] for name, resource in template["Resources"].items() if "Condition" in resource
    }
    assert conditions.pop("Database") == "IsOnHost"
    assert {template["Resources"][name]["Type"].split("::")[1] for name in conditions} == {"RDS"}
    assert set(conditions.values()) == {"IsManaged"}
    parameter = {"Ref": "ManagedDatabase"}
    assert template["Conditions"] == {
        "IsManaged": {"Fn::Equals": [parameter, "yes"]},
        "IsOnHost": {"Fn::Equals": [parameter, "no"]},
    }
    [database] = resources("AWS::RDS::DBInstance").values()
    assert "MasterUserPassword" not in database
    expected = {"ManageMasterUserPassword": True, "StorageEncrypted": True, "PubliclyAccessible": False}
    assert expected.items() <= database.items()
    assert database["VPCSecurityGroups"] == [{"Ref": "DatabaseSecurityGroup"}]
    [settings] = resources("AWS::RDS::DBParameterGroup").values()
    assert settings["Parameters"]["require_secure_transport"] == "1"
    assert template["Resources"]["ManagedDatabaseInstance"]["DeletionPolicy"] == "Snapshot"


def test_broker_disk_size(instances: dict[str, Any], launch_data: dict[str, Any]) -> None:
    """The broker has a disk of 20 GiB for its queues."""
    brokers = {name: host for name, host in instances.items() if tag(host, "FrotaRole") == "broker"}
    assert brokers
    for name, broker in brokers.items():
        assert [
            disk["Ebs"]["VolumeSize"] for disk in launch_data[template_of(name, broker)]["BlockDeviceMappings"]
        ] == [20]


def test_instances_are_in_the_fleets_subnets(instances: dict[str, Any], stacks: dict[str, Any]) -> None:
    """The instances use every subnet of the fleet, and no other."""
    subnets = {
        name
        for name, resource in stacks["network"]["Resources"].items()
        if resource["Type"] == "AWS::EC2::Subnet" and stacks["network"]["Outputs"][name]["Value"] == {"Ref": name}
    }
    used = {instance.get("SubnetId", {}).get("Ref") for instance in instances.values()}
    assert used == subnets


def test_subnets_are_in_two_zones(resources: Resources) -> None:
    """The subnets are in two availability zones and do not share an address range."""
    subnets = resources("AWS::EC2::Subnet").values()
    assert len({str(subnet["AvailabilityZone"]) for subnet in subnets}) == 2
    assert len({str(subnet["CidrBlock"]) for subnet in subnets}) == 2


def test_security_groups_of_instances(instances: dict[str, Any]) -> None:
    """Every instance has the security group of all hosts and that of each of its roles."""
    for name, instance in instances.items():
        assert instance["SecurityGroupIds"] == security_groups_of(instance), name


def security_groups_of(host: dict[str, Any]) -> list[dict[str, str]]:
    roles = [camel(role) for role in tag(host, "FrotaRole").split()]
    return [{"Ref": f"{group}SecurityGroup"} for group in ("Host", *roles)]


def test_templates_have_the_hosts_security_group(launch_data: dict[str, Any]) -> None:
    """Every launch template has the security group of all hosts."""
    assert [
        name for name, data in launch_data.items() if {"Ref": "HostSecurityGroup"} not in data["SecurityGroupIds"]
    ] == []


def test_security_groups_of_auto_scaling_hosts(groups: dict[str, Any], launch_data: dict[str, Any]) -> None:
    """An Auto Scaling group uses the newest template of its stack, with the security groups of its roles."""
    for name, group in groups.items():
        template = template_of(name, group)
        assert group["LaunchTemplate"] == newest(template.partition(".")[2]), name
        assert launch_data[template]["SecurityGroupIds"] == security_groups_of(group), name


def test_limits_of_auto_scaling_groups(groups: dict[str, Any], stacks: dict[str, Any]) -> None:
    """An Auto Scaling group has 0 to 8 hosts and uses every subnet."""
    subnets = [
        {"Ref": name} for name, item in stacks["network"]["Resources"].items() if item["Type"] == "AWS::EC2::Subnet"
    ]
    for name, group in groups.items():
        assert (group["MinSize"], group["MaxSize"]) == ("0", "8"), name
        assert group["VPCZoneIdentifier"] == subnets, name


def test_stack_updates_keep_the_group_size(groups: dict[str, Any]) -> None:
    """No template sets the desired capacity, so a stack update keeps it."""
    assert [name for name, group in groups.items() if "DesiredCapacity" in group] == []


def test_auto_scaling_groups_refer_to_stable_resources(
    groups: dict[str, Any],
) -> None:
    """An Auto Scaling group refers to nothing whose change makes the embedded AWS replace its hosts."""
    referenced = {name for group in groups.values() for name in references(group)}
    assert referenced <= {"FleetName", "SubnetOne", "SubnetTwo", "WorkerTemplate"}


def references(tree: Any) -> Iterator[str]:
    """Yield everything that a parsed template refers to, at any depth."""
    if isinstance(tree, dict):
        if "Ref" in tree:
            yield tree["Ref"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from references(branch)


def test_tags_of_auto_scaling_hosts(
    groups: dict[str, Any],
) -> None:
    """The hosts of an Auto Scaling group inherit the tags that the inventory needs, but no Name."""
    for name, group in groups.items():
        assert [item["Key"] for item in group["Tags"]] == ["Fleet", "FrotaRole", "FrotaPool"], name
        assert [item["Key"] for item in group["Tags"] if item.get("PropagateAtLaunch") is not True] == [], name
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", tag(group, "FrotaPool")), name


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("Name", r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"),
        ("FrotaRole", r"[a-z]+(_[a-z]+)*( [a-z]+(_[a-z]+)*)*"),
    ],
)
def test_tags_of_instances(instances: dict[str, Any], key: str, pattern: str) -> None:
    """Every instance has a valid host name and valid inventory groups as tags."""
    assert [name for name, instance in instances.items() if not re.fullmatch(pattern, str(tag(instance, key)))] == []


def test_instance_names_are_unique(instances: dict[str, Any]) -> None:
    """No two instances have the same name."""
    names = Counter(tag(instance, "Name") for instance in instances.values())
    assert [name for name, times in names.items() if times > 1] == []


def test_number_of_hosts_per_role(instances: dict[str, Any], groups: dict[str, Any]) -> None:
    """Every server role has one host, the peers have two, and every client role has at least two."""
    roles = Counter(role for host in (*instances.values(), *groups.values()) for role in tag(host, "FrotaRole").split())
    servers = ("sensor_server", "list_server", "cpu_server", "image_producer", "broker", "database", "observer")
    clients = ("sensor_client", "list_client", "image_client", "peer_server", "peer_client")
    assert {role: roles[role] for role in servers} == dict.fromkeys(servers, 1)
    assert [role for role in clients if roles[role] < 2] == []
    assert set(roles) == {*servers, *clients, "image_worker", "peer_worker"}
