"""Security groups in the templates. The embedded AWS does not enforce them, so these tests check their text."""

import re
from collections.abc import Callable
from typing import Any

import pytest

Resources = Callable[..., dict[str, Any]]
Rule = dict[str, Any]

ADMIN = {"Ref": "AdminCidr"}
ANYWHERE = ("0.0.0.0/0", "::/0")
NOWHERE = "127.0.0.1/32"

# Allowed connections: roles of client and server, and the port (a parameter, or one of Erlang's ports). The unencrypted
# ports of the remote list, of the image producer and of the peers are in none of them.
CONNECTIONS: set[tuple[str, str, str | int | tuple[int, int]]] = {
    ("SensorClient", "SensorServer", "SensorsPort"),
    ("ListClient", "ListServer", "ListPort"),
    ("ListClient", "ListServer", "ListWatchPort"),
    ("Host", "CpuServer", "CpuPort"),
    ("ImageClient", "ImageProducer", "ImagesPort"),
    ("ImageProducer", "Broker", "RabbitmqPort"),
    ("ImageWorker", "Broker", "RabbitmqPort"),
    ("PeerClient", "PeerServer", "PeersPort"),
    ("PeerWorker", "PeerServer", "PeersPort"),
    ("PeerServer", "PeerServer", "PeersPort"),
    ("PeerServer", "Database", "MariadbPort"),
    ("PeerWorker", "Database", "MariadbPort"),
    ("Host", "Observer", "ObserverJournalPort"),
    ("Observer", "Host", (9401, 9420)),  # every service of ours has one of these for its metrics
    ("Observer", "Broker", 15692),
    ("Observer", "SensorServer", "SensorsPort"),
    ("Broker", "Broker", 4369),
    ("Broker", "Broker", 25672),
    ("Broker", "Broker", (35672, 35682)),  # a command listens on one of these
}

# Destinations on the internet that every host may reach: protocol and port -> reason.
INTERNET = {
    ("tcp", 80): "Debian's mirrors",
    ("tcp", 443): "Debian's mirrors, the AWS API",
    ("udp", 123): "time",
}


@pytest.fixture
def ingress(resources: Resources) -> list[Rule]:
    """Return every ingress rule, inline or separate, with its group as GroupId."""
    return rules(resources, "SecurityGroupIngress")


@pytest.fixture
def egress(resources: Resources) -> list[Rule]:
    """Return every egress rule, inline or separate, with its group as GroupId."""
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
    others = [rule for rule in ingress if cidr(rule) != ADMIN and set(rule.get("SourceSecurityGroupId", {})) != {"Ref"}]
    assert others == []


def test_ingress_ports(ingress: list[Rule]) -> None:
    """Every ingress rule has one protocol and a single port, or a listed range."""
    listed = {port for _, _, port in CONNECTIONS if isinstance(port, tuple)}
    ranges = {(rule["FromPort"], rule["ToPort"]) for rule in ingress if rule["FromPort"] != rule["ToPort"]}
    assert {rule["IpProtocol"] for rule in ingress} <= {"tcp", "udp"}
    assert ranges == listed


def test_only_the_administrator_reaches_ssh(ingress: list[Rule]) -> None:
    """The administrator reaches port 22 of every host; nobody else does, and no other port."""
    by_admin = [(rule["GroupId"], ports(rule)) for rule in ingress if cidr(rule) == ADMIN]
    by_ssh = [cidr(rule) for rule in ingress if rule["FromPort"] == 22]
    assert by_admin == [({"Ref": "HostSecurityGroup"}, ("tcp", 22, 22))]
    assert by_ssh == [ADMIN]


def test_admin_cidr_has_no_default(stacks: dict[str, Any]) -> None:
    """AdminCidr has no default."""
    assert "Default" not in stacks["security"]["Parameters"]["AdminCidr"]


@pytest.mark.parametrize("cidr_range", ["203.0.113.7/32", "10.42.0.0/16", "192.168.1.0/24", "255.255.255.255/32"])
def test_valid_admin_cidr(stacks: dict[str, Any], cidr_range: str) -> None:
    """A range of at most a /16 is accepted as AdminCidr."""
    assert re.fullmatch(stacks["security"]["Parameters"]["AdminCidr"]["AllowedPattern"], cidr_range)


@pytest.mark.parametrize(
    "cidr_range",
    ["0.0.0.0/0", "10.0.0.0/8", "203.0.113.0/15", "203.0.113.7", "203.0.113.7/33", "256.0.0.1/32", "::/0", ""],
)
def test_too_wide_admin_cidr(stacks: dict[str, Any], cidr_range: str) -> None:
    """A malformed range, or one wider than a /16, is rejected as AdminCidr."""
    assert not re.fullmatch(stacks["security"]["Parameters"]["AdminCidr"]["AllowedPattern"], cidr_range)


def test_servers_are_reached_by_their_clients_only(ingress: list[Rule]) -> None:
    """Only the roles that use a server reach it, and only at its ports."""
    internal = [rule for rule in ingress if "SourceSecurityGroupId" in rule]
    allowed = [
        (*(rule[end]["Ref"].removesuffix("SecurityGroup") for end in ("SourceSecurityGroupId", "GroupId")), ports(rule))
        for rule in internal
    ]
    expected = [(source, target, ("tcp", *_port_range(port))) for source, target, port in CONNECTIONS]
    assert sorted(allowed, key=str) == sorted(expected, key=str)


def _port_range(port: str | int | tuple[int, int]) -> tuple[Any, Any]:
    """Return FromPort and ToPort of a rule."""
    if isinstance(port, tuple):
        return port
    single = {"Ref": port} if isinstance(port, str) else port
    return single, single


def test_every_group_has_an_egress_rule(resources: Resources) -> None:
    """Every security group has an egress rule, because a group without one allows everything."""
    groups = resources("AWS::EC2::SecurityGroup")
    assert groups
    assert [name for name, group in groups.items() if not group.get("SecurityGroupEgress")] == []


def test_egress_to_the_internet(egress: list[Rule]) -> None:
    """Hosts reach only package mirrors, the AWS API and NTP on the internet."""
    internet = [ports(rule) for rule in egress if cidr(rule) not in (None, NOWHERE)]
    assert sorted(internet) == sorted((protocol, port, port) for protocol, port in INTERNET)
    assert {cidr(rule) for rule in egress} <= {*ANYWHERE, NOWHERE, None}


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
