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


def test_ingress_sources(ingress: list[Rule]) -> None:
    """Ingress comes only from the administrator's range or from a security group of the fleet."""
    strangers = [
        rule for rule in ingress if cidr(rule) != ADMIN and set(rule.get("SourceSecurityGroupId", {})) != {"Ref"}
    ]
    assert strangers == []


def test_ingress_ports(ingress: list[Rule]) -> None:
    """Every ingress rule has one protocol and a single port, or a listed range."""
    known = {port for _, _, port in INSIDE if isinstance(port, tuple)}
    ranges = {(rule["FromPort"], rule["ToPort"]) for rule in ingress if rule["FromPort"] != rule["ToPort"]}
    assert {rule["IpProtocol"] for rule in ingress} <= {"tcp", "udp"}
    assert ranges == known


def test_only_the_administrator_reaches_ssh(ingress: list[Rule]) -> None:
    """The administrator reaches port 22 of every host; nobody else does, and no other port."""
    by_admin = [(rule["GroupId"], ports(rule)) for rule in ingress if cidr(rule) == ADMIN]
    by_ssh = [cidr(rule) for rule in ingress if rule["FromPort"] == 22]
    assert by_admin == [({"Ref": "HostSecurityGroup"}, ("tcp", 22, 22))]
    assert by_ssh == [ADMIN]


def test_admin_cidr_has_no_default(stacks: dict[str, Any]) -> None:
    """AdminCidr has no default."""
    assert "Default" not in stacks["security"]["Parameters"]["AdminCidr"]


@pytest.mark.parametrize("good", ["203.0.113.7/32", "10.42.0.0/16", "192.168.1.0/24", "255.255.255.255/32"])
def test_valid_admin_cidr(stacks: dict[str, Any], good: str) -> None:
    """A range of at most a /16 is accepted as AdminCidr."""
    assert re.fullmatch(stacks["security"]["Parameters"]["AdminCidr"]["AllowedPattern"], good)


@pytest.mark.parametrize(
    "bad", ["0.0.0.0/0", "10.0.0.0/8", "203.0.113.0/15", "203.0.113.7", "203.0.113.7/33", "256.0.0.1/32", "::/0", ""]
)
def test_too_wide_admin_cidr(stacks: dict[str, Any], bad: str) -> None:
    """A malformed range, or one wider than a /16, is rejected as AdminCidr."""
    assert not re.fullmatch(stacks["security"]["Parameters"]["AdminCidr"]["AllowedPattern"], bad)


def test_servers_are_reached_by_their_clients_only(ingress: list[Rule]) -> None:
    """Only the roles that use a server reach it, and only at its ports."""
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


def test_every_group_has_an_egress_rule(resources: Resources) -> None:
    """Every security group has an egress rule, because a group without one allows everything."""
    groups = resources("AWS::EC2::SecurityGroup")
    assert groups
    assert [name for name, group in groups.items() if not group.get("SecurityGroupEgress")] == []


def test_egress_to_the_internet(egress: list[Rule]) -> None:
    """Hosts reach only package mirrors, the AWS API and NTP on the internet."""
    outward = [ports(rule) for rule in egress if cidr(rule) not in (None, NOWHERE)]
    assert sorted(outward) == sorted((protocol, port, port) for protocol, port in OUTWARD)
    assert {cidr(rule) for rule in egress} <= {*WORLD, NOWHERE, None}


def test_connections_are_allowed_at_both_ends(ingress: list[Rule], egress: list[Rule]) -> None:
    """Every connection inside the fleet has a rule at both ends."""
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


def test_rules_have_descriptions(ingress: list[Rule], egress: list[Rule]) -> None:
    """Every rule has a description."""
    assert [rule for rule in (*ingress, *egress) if not rule.get("Description")] == []
