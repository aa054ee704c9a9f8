"""Faults in the tags of EC2 instances that prevent one inventory host per instance."""

import re
from collections import defaultdict
from typing import Any, NamedTuple

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# Names of inventory hosts and groups that do not come from instances.
TAKEN = {"all", "ungrouped", "aws_ec2", "localhost", "local", "embedded-aws", "embedded_aws", "fleet", "remote"}
POOL, GROUP = "FrotaPool", "aws:autoscaling:groupName"

STACK = "aws:cloudformation:stack-name"

Tags = dict[str, str]


def tags(instance: dict[str, Any]) -> Tags:
    """Return the instance's tags without empty ones."""
    return {key: value for key, value in instance.get("tags", {}).items() if value}


def name(instance: dict[str, Any]) -> str:
    """Return the instance's inventory name; empty for none."""
    told = tags(instance)
    return told.get("Name") or (f"{told[POOL]}-{instance['instance_id']}" if POOL in told else "")


def roles_of(instance: dict[str, Any]) -> list[str]:
    """Return the roles in the instance's tag FrotaRole, including unknown ones."""
    return tags(instance).get("FrotaRole", "").split()


class Fault(NamedTuple):
    """What is wrong, and the instances that it is wrong with; none if one is missing."""

    text: str
    instances: list[dict[str, Any]]


def naming_faults(instances: list[dict[str, Any]], roles: set[str]) -> list[Fault]:
    """Return a fault for each instance with a missing, invalid or duplicate name."""
    faults, called = [], defaultdict(list)
    for one in instances:
        called[name(one).casefold()].append(one)
        if not name(one):
            faults.append(Fault(f"{one['instance_id']} has no name: give it a unique tag Name.", [one]))
        elif not LABEL.fullmatch(name(one)) or name(one) in TAKEN | (roles - set(roles_of(one))):
            text = (
                f"{one['instance_id']} cannot be called {name(one)!r}: expected letters, digits, `-`, `.` and `_`, "
                "at most 63, and not the name of another group. Change its tag Name."
            )
            faults.append(Fault(text, [one]))
    return faults + [
        Fault(
            f"{' and '.join(one['instance_id'] for one in same)} have the same name {name(same[0])}. {advice(same)}",
            same,
        )
        for key, same in called.items()
        if key and len(same) > 1
    ]


def advice(same: list[dict[str, Any]]) -> str:
    """Return how to fix instances with the same name."""
    if groups := sorted({tags(one)[GROUP] for one in same if GROUP in tags(one)}):
        return (
            f"Remove the tag Name from the Auto Scaling group {', '.join(groups)} and its instances, "
            f"and add the tag {POOL}."
        )
    return "Give each a unique tag Name, or terminate the superfluous ones."


def role_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[Fault]:
    """Return a fault for each instance with an unknown role, and for each role that misses a role it depends on."""
    faults, there = [], set()
    for one in instances:
        roles = roles_of(one)
        there.update(roles)
        if unknown := [role for role in roles if role not in needs] or ([] if roles else ["none"]):
            text = (
                f"{name(one) or one['instance_id']} has the role {', '.join(unknown)}: expected in its tag FrotaRole "
                f"one or more of {', '.join(sorted(needs))}, separated by spaces."
            )
            faults.append(Fault(text, [one]))
    for role in sorted(there & needs.keys()):
        faults += [
            Fault(f"No running instance has the role {needed}, and {role} depends on it: start one or launch one.", [])
            for needed in needs[role]
            if needed not in there
        ]
    return faults


def all_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[Fault]:
    """Return each fault that would merge hosts, lose a host or leave it unconfigured; arguments as below."""
    there = [one for one in instances if one["state"]["name"] in ("pending", "running")]
    running = sorted(there, key=lambda one: str(one["instance_id"]))
    return naming_faults(running, set(needs)) + role_faults(running, needs)


def instance_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[str]:
    """Return a message for each fault that would merge hosts, lose a host or leave it unconfigured.

    `instances` have the format of amazon.aws.ec2_instance_info; those that are not running are ignored. `needs` maps
    every role to the roles that it depends on.
    """
    return [fault.text for fault in all_faults(instances, needs)]


def launched_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[str]:
    """Return those messages of instance_faults that concern an instance outside the stacks, which no update changes."""
    return [fault.text for fault in all_faults(instances, needs) if any(is_launched(one) for one in fault.instances)]


def is_launched(instance: dict[str, Any]) -> bool:
    """Tell whether neither a stack nor an Auto Scaling group launched the instance."""
    return not {STACK, GROUP} & tags(instance).keys()


def instance_host(instance: dict[str, Any], packages: dict[str, list[str]]) -> dict[str, Any]:
    """Return an instance as an item of `local_host_hosts`. The instance has to be without faults.

    `packages` maps a role to the Debian packages of its hosts' image.
    """
    own = sorted({package for role in roles_of(instance) for package in packages.get(role, ())})
    where = {"address": instance["private_ip_address"], "instance": instance["instance_id"]}
    return {"name": name(instance), **where, "packages": own}


class FilterModule:
    def filters(self) -> dict:
        return {"instance_faults": instance_faults, "launched_faults": launched_faults, "instance_host": instance_host}
