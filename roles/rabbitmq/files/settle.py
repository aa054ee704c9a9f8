"""Bring a running broker to what its definitions say, and print every change; runs on one of its nodes.

settle.py settle DEFINITIONS NODES AT_HAND
    NODES are to be the cluster, and those AT_HAND have to run in it now. Those that are neither in NODES nor run are
    forgotten; every queue gets a member on every node that runs. What is defined is imported; users, their rights and
    policies that are not defined are taken away.
settle.py forget NODES
    Nodes that lost their disks leave the cluster that they were in.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Definitions = dict[str, list[dict[str, Any]]]
# What makes an entry of a kind the same entry, and what may differ then.
KEYS = {
    "vhosts": (["name"], []),
    "users": (["name"], ["password_hash", "tags"]),
    "permissions": (["user", "vhost"], ["configure", "write", "read"]),
    "policies": (["vhost", "name"], ["pattern", "apply-to", "definition", "priority"]),
    "queues": (["vhost", "name"], ["durable"]),
    "exchanges": (["vhost", "name"], ["type", "durable"]),
    "bindings": (["vhost", "source", "destination"], []),
}
# How an entry is taken away. Queues, exchanges and bindings stay: they may hold, or be on the way of, messages.
REMOVALS = {
    "users": ("delete_user", "{name}"),
    "permissions": ("clear_permissions", "--vhost", "{vhost}", "{user}"),
    "policies": ("clear_policy", "--vhost", "{vhost}", "{name}"),
}


def call(tool: str, *arguments: str) -> str:
    """Run a command of the broker and return what it prints; end with its complaint when it fails."""
    done = subprocess.run([tool, "--quiet", *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode != 0:
        sys.exit(f"{tool} {' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout


def names(nodes: str) -> set[str]:
    """Return the names of nodes given as HOST,HOST."""
    return {f"rabbit@{node}" for node in nodes.split(",") if node}


def members() -> tuple[set[str], set[str]]:
    """Return the nodes of the cluster, and those of them that run."""
    status = json.loads(call("rabbitmqctl", "cluster_status", "--formatter", "json"))
    return set(status["disk_nodes"]), set(status["running_nodes"])


def forget(nodes: set[str]) -> None:
    """Let nodes leave the cluster; they must not run."""
    for node in sorted(nodes):
        print(f"forget {node}")
        call("rabbitmqctl", "forget_cluster_node", node)


def by_key(kind: str, entries: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Index entries of a kind by what identifies them."""
    return {tuple(entry[key] for key in KEYS[kind][0]): entry for entry in entries}


def differences(wanted: Definitions, found: Definitions) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return what has to be imported, in words, and the commands that take away what is not defined."""
    imports, removals = [], []
    for kind, (_, values) in KEYS.items():
        there, defined = by_key(kind, found.get(kind, [])), by_key(kind, wanted.get(kind, []))
        for key, entry in defined.items():
            if key not in there or any(there[key].get(value) != entry[value] for value in values):
                imports.append(f"define {kind} {' '.join(key)}")
        unwanted = [entry for key, entry in there.items() if key not in defined]
        removals += [tuple(word.format(**entry) for word in REMOVALS.get(kind, ())) for entry in unwanted]
    return imports, sorted(filter(None, removals))


def settle(file: Path, nodes: set[str], at_hand: set[str]) -> None:
    """Compare, and change what differs."""
    known, running = members()
    if missing := at_hand - running:
        sys.exit(f"{', '.join(sorted(missing))}: not in the cluster of {', '.join(sorted(running))}")
    if strange := running - nodes:
        sys.exit(f"{', '.join(sorted(strange))}: no longer in the inventory, but running. Stop the broker there first")
    wanted = json.loads(file.read_text(encoding="utf-8"))
    imports, removals = differences(wanted, json.loads(call("rabbitmqctl", "export_definitions", "-")))
    for change in [*imports, *(" ".join(removal) for removal in removals)]:
        print(change)
    forget(known - nodes)
    if imports:
        call("rabbitmqctl", "import_definitions", str(file))
    for removal in removals:
        call("rabbitmqctl", *removal)
    if len(nodes) > 1:
        grow(running)


def grow(nodes: set[str]) -> None:
    """Give every quorum queue a member on every node."""
    for vhost in json.loads(call("rabbitmqctl", "list_vhosts", "name", "--formatter", "json")):
        listed = call("rabbitmqctl", "list_queues", "--vhost", vhost["name"], "name", "members", "--formatter", "json")
        lacking = {node for queue in json.loads(listed) for node in nodes - set(queue["members"])}
        for node in sorted(lacking):
            print(f"members on {node} for the queues of {vhost['name']}")
            call("rabbitmq-queues", "grow", node, "all", "--vhost-pattern", f"^{vhost['name']}$")


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[1] == "forget":
        forget(members()[0] & names(sys.argv[2]))
    else:
        settle(Path(sys.argv[2]), names(sys.argv[3]), names(sys.argv[4]))


if __name__ == "__main__":
    main()
