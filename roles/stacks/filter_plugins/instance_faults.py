"""Faults in the tags of EC2 instances that prevent one inventory host per instance."""

import re
from collections import defaultdict
from typing import Any, NamedTuple

VALID_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# Names of inventory hosts and groups that do not come from instances.
RESERVED_NAMES = {
    "all",
    "ungrouped",
    "aws_ec2",
    "localhost",
    "local",
    "embedded-aws",
    "embedded_aws",
    "fleet",
    "remote",
}
POOL_TAG, GROUP_TAG, STACK_TAG = "FrotaPool", "aws:autoscaling:groupName", "aws:cloudformation:stack-name"

Tags = dict[str, str]


def tags(instance: dict[str, Any]) -> Tags:
    """Return the instance's tags without empty ones."""
    return {key: value for key, value in instance.get("tags", {}).items() if value}


def name(instance: dict[str, Any]) -> str:
    """Return the instance's inventory name; empty for none."""
    own = tags(instance)
    return own.get("Name") or (f"{own[POOL_TAG]}-{instance['instance_id']}" if POOL_TAG in own else "")


def roles_of(instance: dict[str, Any]) -> list[str]:
    """Return the roles in the instance's tag FrotaRole, including unknown ones."""
    return tags(instance).get("FrotaRole", "").split()


class Fault(NamedTuple):
    """What is wrong, and the instances that it is wrong with; none if one is missing."""

    text: str
    instances: list[dict[str, Any]]


def naming_faults(instances: list[dict[str, Any]], roles: set[str]) -> list[Fault]:
    """Return a fault for each instance with a missing, invalid or duplicate name."""
    faults, by_name = [], defaultdict(list)
    for instance in instances:
        by_name[name(instance).casefold()].append(instance)
        reserved = RESERVED_NAMES | (roles - set(roles_of(instance)))
        if not name(instance):
            faults.append(Fault(f"{instance['instance_id']} has no name: give it a unique tag Name.", [instance]))
        elif not VALID_NAME.fullmatch(name(instance)) or name(instance) in reserved:
            text = (
                f"{instance['instance_id']} cannot be called {name(instance)!r}: expected letters, digits, `-`, `.` "
                "and `_`, at most 63, and not the name of another group. Change its tag Name."
            )
            faults.append(Fault(text, [instance]))
    return faults + [
        Fault(
            f"{' and '.join(item['instance_id'] for item in same)} have the same name {name(same[0])}. {advice(same)}",
            same,
        )
        for key, same in by_name.items()
        if key and len(same) > 1
    ]


def advice(instances: list[dict[str, Any]]) -> str:
    """Return how to fix instances with the same name."""
    all_tags = [tags(instance) for instance in instances]
    if groups := sorted({own[GROUP_TAG] for own in all_tags if GROUP_TAG in own}):
        return (
            f"Remove the tag Name from the Auto Scaling group {', '.join(groups)} and its instances, "
            f"and add the tag {POOL_TAG}."
        )
    return "Give each a unique tag Name, or terminate the superfluous ones."


def role_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[Fault]:
    """Return a fault for each instance with an unknown role, and for each role that misses a role it depends on."""
    faults, running_roles = [], set()
    for instance in instances:
        roles = roles_of(instance)
        running_roles.update(roles)
        if unknown := [role for role in roles if role not in needs] or ([] if roles else ["none"]):
            text = (
                f"{name(instance) or instance['instance_id']} has the role {', '.join(unknown)}: expected in its tag "
                f"FrotaRole one or more of {', '.join(sorted(needs))}, separated by spaces."
            )
            faults.append(Fault(text, [instance]))
    for role in sorted(running_roles & needs.keys()):
        faults += [
            Fault(f"No running instance has the role {needed}, and {role} depends on it: start one or launch one.", [])
            for needed in needs[role]
            if needed not in running_roles
        ]
    return faults


def all_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[Fault]:
    """Return each fault that would merge hosts, lose a host or leave it unconfigured; arguments as below."""
    running = [instance for instance in instances if instance["state"]["name"] in ("pending", "running")]
    running.sort(key=lambda instance: str(instance["instance_id"]))
    return naming_faults(running, set(needs)) + role_faults(running, needs)


def instance_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[str]:
    """Return a message for each fault that would merge hosts, lose a host or leave it unconfigured.

    `instances` have the format of amazon.aws.ec2_instance_info; those that are not running are ignored. `needs` maps
    every role to the roles that it depends on.
    """
    return [fault.text for fault in all_faults(instances, needs)]


def launched_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[str]:
    """Return those messages of instance_faults that concern an instance outside the stacks, which no update changes."""
    return [
        fault.text
        for fault in all_faults(instances, needs)
        if any(is_launched(instance) for instance in fault.instances)
    ]


def is_launched(instance: dict[str, Any]) -> bool:
    """Tell whether neither a stack nor an Auto Scaling group launched the instance."""
    return not {STACK_TAG, GROUP_TAG} & tags(instance).keys()


def instance_host(instance: dict[str, Any], packages: dict[str, list[str]]) -> dict[str, Any]:
    """Return an instance as an item of `local_host_hosts`. The instance has to be without faults.

    `packages` maps a role to the Debian packages of its hosts' image.
    """
    names = sorted({package for role in roles_of(instance) for package in packages.get(role, ())})
    identity = {"address": instance["private_ip_address"], "instance": instance["instance_id"]}
    return {"name": name(instance), **identity, "packages": names}


class FilterModule:
    def filters(self) -> dict:
        return {"instance_faults": instance_faults, "launched_faults": launched_faults, "instance_host": instance_host}
