#!/usr/bin/python3
"""Configure a running RabbitMQ broker: cluster nodes, definitions, and quorum queue members on every node."""

import json
import os
import pwd
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.rabbitmq_api import (  # type: ignore[import-untyped]  # found by Ansible
    USER,
    Api,
    ApiFault,
    NoListenerError,
    UnknownUserError,
)

DOCUMENTATION = """
module: rabbitmq_broker
short_description: Cluster nodes, definitions and quorum queue members of a running RabbitMQ broker
description:
  - Runs on one node of the broker. Compares over the management API and changes only what differs.
  - Creates and changes definitions. Removes users, permissions and policies that are not defined; keeps queues,
    exchanges and bindings, because messages may depend on them.
  - Forgets stopped nodes that are not listed; adds a member of every quorum queue on every running node.
  - Authenticates as the user C(ansible), only on loopback, with a password that is derived from the Erlang cookie. If
    the broker does not accept this user, the module imports it with C(rabbitmqctl) first.
  - A broker without differences costs no rabbitmqctl command. Check mode reports the same changes and the same C(diff)
    without making them; if the broker does not accept the user, it reports only the user.
options:
  nodes: {type: list, elements: str, required: true, description: "Names of the cluster's nodes, C(rabbit@HOST)."}
  present: {type: list, elements: str, default: [], description: Nodes that have to be running members of the cluster.}
  lost:
    type: list
    elements: str
    default: []
    description: Nodes that lost their disks. If not empty, the module only forgets them.
  definitions: {type: dict, default: {}, description: "Definitions in the format of C(rabbitmqctl export_definitions)."}
  port: {type: int, required: true, description: "Port of the management API, at 127.0.0.1."}
author: frota
"""

EXAMPLES = """
- rabbitmq_broker:
    nodes: [rabbit@broker-1]
    definitions: {vhosts: [{name: frota}], users: [{name: worker, password_hash: "", tags: []}]}
    port: 15672
"""

RETURN = """
changes: {type: list, elements: str, returned: success, description: "Descriptions of what was, or would be, changed."}
"""

Entry = dict[str, Any]
Definitions = Mapping[str, list[Entry]]
Run = Callable[[list[str]], tuple[int, str, str]]  # command -> exit status, stdout, stderr


class Kind(NamedTuple):
    """A kind of definition: its key, the values to compare, and the API path to delete it (empty: never deleted)."""

    key: tuple[str, ...]
    values: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()


KINDS = {
    "vhosts": Kind(("name",)),
    "users": Kind(("name",), ("password_hash", "tags"), ("users", "{name}")),
    "permissions": Kind(("user", "vhost"), ("configure", "write", "read"), ("permissions", "{vhost}", "{user}")),
    "policies": Kind(
        ("vhost", "name"), ("pattern", "apply-to", "definition", "priority"), ("policies", "{vhost}", "{name}")
    ),
    "queues": Kind(("vhost", "name"), ("durable",)),
    "exchanges": Kind(("vhost", "name"), ("type", "durable")),
    "bindings": Kind(("vhost", "source", "destination")),
}
USER_TIMEOUT_S = 120  # timeout until a broker accepts a new user
GROW_TIMEOUT_S = 120  # timeout until all queues have their new members; each holds an election
POLL_INTERVAL_S = 0.5  # polling interval


class Change(NamedTuple):
    """An entry to create (`current` is None), to change, or to remove (`desired` is None)."""

    kind: str
    current: Entry | None
    desired: Entry | None

    @property
    def description(self) -> str:
        entry = self.desired or self.current or {}
        verb = "remove" if self.desired is None else "define"
        return f"{verb} {self.kind} {' '.join(str(entry[key]) for key in KINDS[self.kind].key)}"

    @property
    def resource(self) -> tuple[str, ...]:
        """The API path of the entry to remove."""
        return tuple(part.format(**(self.current or {})) for part in KINDS[self.kind].resource)

    def diff_text(self, entry: Entry | None) -> str:
        """Return an entry in the format of --diff, with a placeholder for its password hash."""
        if entry is None:
            return ""
        kind = KINDS[self.kind]
        fields = {name: entry.get(name) for name in (*kind.key, *kind.values)}
        if fields.get("password_hash"):
            fields["password_hash"] = "(former)" if entry is self.current else "(new)"
        return f"{self.kind}: {json.dumps(fields, sort_keys=True)}\n"


def by_key(kind: str, entries: Iterable[Entry]) -> dict[tuple[Any, ...], Entry]:
    """Index entries of a kind by their key."""
    return {tuple(entry[key] for key in KINDS[kind].key): entry for entry in entries}


def compare(desired: Definitions, current: Definitions) -> Iterator[Change]:
    """Yield the differences, first the entries to create or change, then those to remove."""
    removals = []
    for name, kind in KINDS.items():
        existing, defined = by_key(name, current.get(name, [])), by_key(name, desired.get(name, []))
        for key, entry in defined.items():
            if key not in existing or any(existing[key].get(value) != entry[value] for value in kind.values):
                yield Change(name, existing.get(key), entry)
        if kind.resource:
            removals += [Change(name, entry, None) for key, entry in existing.items() if key not in defined]
    yield from removals


def missing_members(queues: Iterable[Entry], running: set[str]) -> list[tuple[str, str]]:
    """Return pairs of virtual host and running node where a quorum queue lacks a member."""
    quorum = [queue for queue in queues if queue.get("type") == "quorum"]
    return sorted({(queue["vhost"], node) for queue in quorum for node in running - set(queue["members"])})


@dataclass(frozen=True)
class Plan:
    """The differences of the broker from its desired state."""

    forgotten_nodes: list[str]
    changes: list[Change] = field(default_factory=list)
    new_members: list[tuple[str, str]] = field(default_factory=list)

    def descriptions(self) -> list[str]:
        """Return a description of every change."""
        nodes = [f"forget {node}" for node in self.forgotten_nodes]
        members = [f"members on {node} for the queues of {vhost}" for vhost, node in self.new_members]
        return [*nodes, *(change.description for change in self.changes), *members]

    def diff(self) -> Entry:
        """Return every change in the format of Ansible's --diff."""
        before = [f"node: {node}\n" for node in self.forgotten_nodes]
        before += [change.diff_text(change.current) for change in self.changes]
        after = [change.diff_text(change.desired) for change in self.changes]
        after += [f"members on {node} for the queues of {vhost}\n" for vhost, node in self.new_members]
        return {"before_header": "broker", "after_header": "broker", "before": "".join(before), "after": "".join(after)}


class Broker:
    """The broker of this host's node."""

    def __init__(self, params: Mapping[str, Any], api: Api, run: Run) -> None:
        self._params, self._api, self._run = params, api, run

    def desired(self) -> Definitions:
        """Return the desired definitions, including the module's user. Raises ApiFault."""
        definitions: Definitions = self._params["definitions"]
        users = definitions.get("users", [])
        if any(user["name"] == USER for user in users):
            raise ApiFault(f"the user name {USER} is reserved for the configuration of the broker: choose another name")
        return {**definitions, "users": [*users, self._api.user()]}

    def plan(self) -> Plan:
        """Compare the broker with its desired state. Raises ApiFault."""
        nodes = {node["name"]: node["running"] for node in self._api.get("nodes", columns="name,running")}
        running, listed = {name for name, runs in nodes.items() if runs}, set(self._params["nodes"])
        if self._params["lost"]:
            return Plan(sorted(set(nodes) & set(self._params["lost"])))
        if missing := set(self._params["present"]) - running:
            raise ApiFault(f"{', '.join(sorted(missing))}: not in the cluster of {', '.join(sorted(running))}")
        if unlisted := running - listed:
            text = "not in the inventory, but running. Stop the broker there first"
            raise ApiFault(f"{', '.join(sorted(unlisted))}: {text}")
        changes = list(compare(self.desired(), self._api.get("definitions")))
        return Plan(sorted(set(nodes) - listed), changes, missing_members(self._queues(), running))

    def apply(self, plan: Plan) -> None:
        """Carry out a plan. Raises ApiFault."""
        for node in plan.forgotten_nodes:
            self._rabbitmqctl("forget_cluster_node", node)
        if self._params["lost"]:
            return
        defined: dict[str, list[Entry]] = {}
        for change in plan.changes:
            if change.desired is not None:
                defined.setdefault(change.kind, []).append(change.desired)
        if defined:
            self._api.post("definitions", body=defined)
        # Compared again: the creator of a virtual host gets all permissions in it, which are removed here.
        for change in compare(self.desired(), self._api.get("definitions")):
            if change.desired is None:
                self._api.delete(*change.resource)
        self._grow()

    def import_user(self) -> None:
        """Import the module's user with rabbitmqctl. Raises ApiFault."""
        user = pwd.getpwnam("rabbitmq")
        with tempfile.NamedTemporaryFile("w", dir="/run", prefix="rabbitmq-user-", encoding="utf-8") as file:
            json.dump({"users": [self._api.user()]}, file)
            file.flush()
            os.fchown(file.fileno(), user.pw_uid, user.pw_gid)
            self._rabbitmqctl("import_definitions", file.name)
        self._wait(self._accepts_user, USER_TIMEOUT_S, f"the broker does not accept its new user {USER}")

    def _accepts_user(self) -> bool:
        try:
            self._api.get("whoami")
        except UnknownUserError:
            return False
        return True

    def _queues(self) -> list[Entry]:
        queues: list[Entry] = self._api.get("queues", disable_stats="true")
        return queues

    def _grow(self) -> None:
        """Add a member of every quorum queue on every running node."""

        def grow() -> bool:
            nodes = {node["name"] for node in self._api.get("nodes", columns="name,running") if node["running"]}
            missing = missing_members(self._queues(), nodes)
            for vhost, node in missing:
                body = {"vhost_pattern": f"^{vhost}$", "queue_pattern": ".*", "strategy": "all"}
                self._api.post("queues", "quorum", "replicas", "on", node, "grow", body=body)
            return not missing

        self._wait(grow, GROW_TIMEOUT_S, "not every queue has a member on every node: see rabbitmqctl cluster_status")

    @staticmethod
    def _wait(condition: Callable[[], bool], timeout: float, reason: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise ApiFault(reason)
            time.sleep(POLL_INTERVAL_S)  # RabbitMQ has no notification

    def _rabbitmqctl(self, *arguments: str) -> None:
        code, out, err = self._run(["rabbitmqctl", "--quiet", *arguments])
        if code:
            raise ApiFault(f"rabbitmqctl {arguments[0]}: {(err or out).strip()}")


def apply_state(broker: Broker, *, check: bool) -> dict[str, Any]:
    """Apply the desired state to the broker and return the module's result. Raises ApiFault."""
    try:
        plan, was_imported = broker.plan(), False
    except UnknownUserError:
        was_imported = True
        if not check:
            broker.import_user()
        plan = Plan([]) if check else broker.plan()
    changes, diff = plan.descriptions(), plan.diff()
    if changes and not check:
        broker.apply(plan)
    if was_imported:
        changes = [f"define users {USER}", *changes]
        diff["after"] = f"users: {USER}\n{diff['after']}"
    return {"changed": bool(changes), "changes": changes, "diff": diff}


def port_in_use(run: Run) -> int:
    """Return the API port of a node that still runs with former settings. Raises ApiFault."""
    code, out, err = run(["rabbitmq-diagnostics", "--quiet", "listeners", "--formatter", "json"])
    listeners = json.loads(out)["listeners"] if code == 0 else []
    ports = [listener["port"] for listener in listeners if listener["purpose"] == "HTTP API"]
    if not ports:
        reason = (err or out).strip() or "see journalctl -u rabbitmq-server"
        raise ApiFault(f"the broker has no management API: {reason}")
    return int(ports[0])


def main() -> None:
    """Run as an Ansible module."""
    names: dict[str, Any] = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "nodes": {**names, "required": True},
            "present": {**names, "default": []},
            "lost": {**names, "default": []},
            "definitions": {"type": "dict", "default": {}},
            "port": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    params, run, check = module.params, module.run_command, module.check_mode
    try:
        try:
            result = apply_state(Broker(params, Api(params["port"]), run), check=check)
        except NoListenerError:
            result = apply_state(Broker(params, Api(port_in_use(run)), run), check=check)
    except ApiFault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
