"""What keeps the instances of the fleet from being hosts of it, each its own."""

import re
from collections import defaultdict
from typing import Any

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# Hosts and groups of the inventory that no instance makes.
TAKEN = {"all", "ungrouped", "aws_ec2", "localhost", "local", "embedded-aws", "embedded_aws", "fleet", "remote"}
POOL, GROUP = "FrotaPool", "aws:autoscaling:groupName"

Tags = dict[str, str]


def tags(instance: dict[str, Any]) -> Tags:
    """Return its tags, those that are given but empty left out."""
    return {key: value for key, value in instance.get("tags", {}).items() if value}


def name(instance: dict[str, Any]) -> str:
    """Return the name that the inventory gives it, empty for none."""
    told = tags(instance)
    return told.get("Name") or (f"{told[POOL]}-{instance['instance_id']}" if POOL in told else "")


def roles_of(instance: dict[str, Any]) -> list[str]:
    """Return the roles that it has, known or not."""
    return tags(instance).get("FrotaRole", "").split()


def naming_faults(instances: list[dict[str, Any]], roles: set[str]) -> list[str]:
    """Say which instances have no name that a host can have, or the name of another."""
    faults, called = [], defaultdict(list)
    for one in instances:
        called[name(one).casefold()].append(one)
        if not name(one):
            faults.append(f"{one['instance_id']} has no name: give it a tag Name of its own.")
        elif not LABEL.fullmatch(name(one)) or name(one) in TAKEN | (roles - set(roles_of(one))):
            faults.append(
                f"{one['instance_id']} cannot be called {name(one)!r}: expected letters, digits, `-`, `.` and `_`, "
                "63 at most, and not the name of a group of others. Give it another tag Name."
            )
    return faults + [
        f"{' and '.join(one['instance_id'] for one in same)} are all called {name(same[0])}. {advice(same)}"
        for key, same in called.items()
        if key and len(same) > 1
    ]


def advice(same: list[dict[str, Any]]) -> str:
    """Say what to do about instances of one name."""
    if groups := sorted({tags(one)[GROUP] for one in same if GROUP in tags(one)}):
        return (
            f"Take the tag Name off the Auto Scaling group {', '.join(groups)} and its instances, and give it {POOL}."
        )
    return "Give each a unique tag Name, or terminate the superfluous ones."


def role_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[str]:
    """Return the instances with an unknown role, and the roles that lack a host of another role."""
    faults, there = [], set()
    for one in instances:
        roles = roles_of(one)
        there.update(roles)
        if unknown := [role for role in roles if role not in needs] or ([] if roles else ["none"]):
            faults.append(
                f"{name(one) or one['instance_id']} has the role {', '.join(unknown)}: expected in its tag FrotaRole "
                f"one or more of {', '.join(sorted(needs))}, parted by spaces."
            )
    for role in sorted(there & needs.keys()):
        faults += [
            f"No instance that runs has the role {needed}, which {role} needs: start it, or launch one."
            for needed in needs[role]
            if needed not in there
        ]
    return faults


def instance_faults(instances: list[dict[str, Any]], needs: dict[str, list[str]]) -> list[str]:
    """Return a sentence for everything that would make hosts merge, vanish or stay bare without a word.

    `instances` are those that run, as amazon.aws.ec2_instance_info tells of them; `needs` has every role there is, with
    the roles that it cannot do without.
    """
    there = [one for one in instances if one["state"]["name"] in ("pending", "running")]
    running = sorted(there, key=lambda one: one["instance_id"])
    return naming_faults(running, set(needs)) + role_faults(running, needs)


def instance_host(instance: dict[str, Any], packages: dict[str, list[str]]) -> dict[str, Any]:
    """Return the host that stands for an instance without a fault on this machine, as role local_host takes it.

    `packages` are those that hosts of a role begin with.
    """
    own = sorted({package for role in roles_of(instance) for package in packages.get(role, ())})
    where = {"address": instance["private_ip_address"], "instance": instance["instance_id"]}
    return {"name": name(instance), **where, "packages": own}


class FilterModule:
    def filters(self) -> dict:
        return {"instance_faults": instance_faults, "instance_host": instance_host}
