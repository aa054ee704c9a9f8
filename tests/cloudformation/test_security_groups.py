"""Who may talk to whom, as written in the templates. The embedded AWS does not enforce it; these tests read it."""

import re
from collections.abc import Callable
from typing import Any

import pytest

Resources = Callable[..., dict[str, Any]]
Rule = dict[str, Any]

ADMIN = {"Ref": "AdminCidr"}
WORLD = ("0.0.0.0/0", "::/0")
NOWHERE = "127.0.0.1/32"

# Who may knock at whom, and at which port, by the names of their groups and of the parameter (ports of Erlang's are
# none). Nobody may at the ports where the remote list and the image producer speak clear text.
INSIDE: set[tuple[str, str, str | int | tuple[int, int]]] = {
    ("SensorClient", "SensorServer", "SensorsPort"),
    ("ListClient", "ListServer", "ListPort"),
    ("ListClient", "ListServer", "ListWatchPort"),
    ("Host", "CpuServer", "CpuPort"),
    ("ImageClient", "ImageProducer", "ImagesPort"),
    ("ImageProducer", "Broker", "RabbitmqPort"),
    ("ImageWorker", "Broker", "RabbitmqPort"),
    ("Broker", "Broker", 4369),
    ("Broker", "Broker", 25672),
    ("Broker", "Broker", (35672, 35682)),  # a command takes one of these
}

# What any host may reach in the world, each with its reason.
OUTWARD = {
    ("tcp", 80): "Debian's mirrors",
    ("tcp", 443): "Debian's mirrors, the AWS API",
    ("udp", 123): "time",
}


@pytest.fixture
def ingress(resources: Resources) -> list[Rule]:
    """Every rule that lets something in, inline or on its own, with the group it belongs to as GroupId."""
    return rules(resources, "SecurityGroupIngress")


@pytest.fixture
def egress(resources: Resources) -> list[Rule]:
    """Every rule that lets something out, likewise."""
    return rules(resources, "SecurityGroupEgress")


def rules(resources: Resources, kind: str) -> list[Rule]:
    inline = [
        {**rule, "GroupId": {"Ref": name.partition(".")[2]}}
        for name, group in resources("AWS::EC2::SecurityGroup").items()
        for rule in group.get(kind, [])
    ]
    return [*inline, *resources(f"AWS::EC2::{kind}").values()]


def cidr(rule: Rule) -> Any:
    return rule.get("CidrIp", rule.get("CidrIpv6"))


def ports(rule: Rule) -> tuple[Any, Any, Any]:
    return rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort")


def test_nothing_comes_in_but_from_the_administrator_or_a_group_of_the_fleet(ingress: list[Rule]) -> None:
    strangers = [
        rule for rule in ingress if cidr(rule) != ADMIN and set(rule.get("SourceSecurityGroupId", {})) != {"Ref"}
    ]
    assert strangers == []


def test_every_rule_that_lets_in_names_one_protocol_and_one_port_or_a_range_that_is_known(ingress: list[Rule]) -> None:
    known = {port for _, _, port in INSIDE if isinstance(port, tuple)}
    ranges = {(rule["FromPort"], rule["ToPort"]) for rule in ingress if rule["FromPort"] != rule["ToPort"]}
    assert {rule["IpProtocol"] for rule in ingress} <= {"tcp", "udp"}
    assert ranges == known


def test_the_administrator_reaches_every_host_by_ssh_and_nothing_else_does(ingress: list[Rule]) -> None:
    by_admin = [(rule["GroupId"], ports(rule)) for rule in ingress if cidr(rule) == ADMIN]
    by_ssh = [cidr(rule) for rule in ingress if rule["FromPort"] == 22]
    assert by_admin == [({"Ref": "HostSecurityGroup"}, ("tcp", 22, 22))]
    assert by_ssh == [ADMIN]


def test_the_administrators_range_must_be_given(stacks: dict[str, Any]) -> None:
    assert "Default" not in stacks["security"]["Parameters"]["AdminCidr"]


@pytest.mark.parametrize("good", ["203.0.113.7/32", "10.42.0.0/16", "192.168.1.0/24", "255.255.255.255/32"])
def test_an_address_range_of_an_administrator_is_accepted(stacks: dict[str, Any], good: str) -> None:
    assert re.fullmatch(stacks["security"]["Parameters"]["AdminCidr"]["AllowedPattern"], good)


@pytest.mark.parametrize(
    "bad", ["0.0.0.0/0", "10.0.0.0/8", "203.0.113.0/15", "203.0.113.7", "203.0.113.7/33", "256.0.0.1/32", "::/0", ""]
)
def test_a_range_that_opens_the_fleet_to_the_world_is_refused(stacks: dict[str, Any], bad: str) -> None:
    assert not re.fullmatch(stacks["security"]["Parameters"]["AdminCidr"]["AllowedPattern"], bad)


def test_a_server_is_reached_only_by_the_hosts_that_use_it_and_only_at_its_ports(ingress: list[Rule]) -> None:
    inside = [rule for rule in ingress if "SourceSecurityGroupId" in rule]
    found = [
        (*(rule[end]["Ref"].removesuffix("SecurityGroup") for end in ("SourceSecurityGroupId", "GroupId")), ports(rule))
        for rule in inside
    ]
    wanted = [(source, target, ("tcp", *_ends(port))) for source, target, port in INSIDE]
    assert sorted(found, key=str) == sorted(wanted, key=str)


def _ends(port: str | int | tuple[int, int]) -> tuple[Any, Any]:
    """Return the first and the last port as a rule has them."""
    if isinstance(port, tuple):
        return port
    one = {"Ref": port} if isinstance(port, str) else port
    return one, one


def test_every_group_has_a_rule_for_what_goes_out_since_none_means_everything(resources: Resources) -> None:
    groups = resources("AWS::EC2::SecurityGroup")
    assert groups
    assert [name for name, group in groups.items() if not group.get("SecurityGroupEgress")] == []


def test_only_package_mirrors_the_aws_api_and_time_are_reached_in_the_world(egress: list[Rule]) -> None:
    outward = [ports(rule) for rule in egress if cidr(rule) not in (None, NOWHERE)]
    assert sorted(outward) == sorted((protocol, port, port) for protocol, port in OUTWARD)
    assert {cidr(rule) for rule in egress} <= {*WORLD, NOWHERE, None}


def test_every_connection_inside_the_fleet_is_allowed_at_both_ends(ingress: list[Rule], egress: list[Rule]) -> None:
    received = [
        (rule["SourceSecurityGroupId"], rule["GroupId"], ports(rule))
        for rule in ingress
        if "SourceSecurityGroupId" in rule
    ]
    sent = [
        (rule["GroupId"], rule["DestinationSecurityGroupId"], ports(rule))
        for rule in egress
        if "DestinationSecurityGroupId" in rule
    ]
    assert sent
    assert sorted(sent, key=str) == sorted(received, key=str)


def test_every_rule_says_what_it_is_for(ingress: list[Rule], egress: list[Rule]) -> None:
    assert [rule for rule in (*ingress, *egress) if not rule.get("Description")] == []
