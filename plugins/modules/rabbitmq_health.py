#!/usr/bin/python3
"""Check that a RabbitMQ node is running, enabled, without alarms, and has its queues."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.rabbitmq_api import Api, ApiFault  # type: ignore[import-untyped]  # found by Ansible
from ansible.module_utils.systemd_units import journal, properties  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: rabbitmq_health
short_description: Check that a RabbitMQ node is running, enabled, without alarms, and has its queues
description:
  - Fails with all faults and the end of the broker's journal. Changes nothing.
  - Queries systemd and the management API; runs no rabbitmqctl command.
options:
  node: {type: str, required: true, description: "Name of the node, C(rabbit@HOST)."}
  port: {type: int, required: true, description: "Port of the management API, at 127.0.0.1."}
  vhost: {type: str, required: true, description: Virtual host of the queues.}
  queues: {type: list, elements: str, default: [], description: Queues that have to exist.}
author: frota
"""

EXAMPLES = """
- rabbitmq_health: {node: rabbit@broker-1, port: 15672, vhost: frota, queues: [images]}
"""

RETURN = "{}"

UNIT = "rabbitmq-server.service"
JOURNAL_LINES = 20


def unit_faults(state: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each fault of the broker's unit."""
    if state["UnitFileState"] != "enabled":
        yield f"{UNIT} is not enabled"
    if state["ActiveState"] not in ("active", "reloading"):
        yield f"{UNIT} is not active: {state['SubState']}"


def node_faults(node: Mapping[str, Any], alarms: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each fault that the node reports."""
    if not node["running"]:
        yield f"{node['name']} is not running"
    if node.get("being_drained"):
        yield f"{node['name']} is in maintenance mode and rejects clients. Run: rabbitmq-upgrade revive"
    if alarms["status"] != "ok":
        raised = ", ".join(sorted({str(alarm["resource"]) for alarm in alarms.get("alarms", [])}))
        yield f"{node['name']} has an alarm that blocks publishers: {raised or alarms.get('reason')}"


def queue_faults(required: Iterable[str], existing: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a message for missing queues."""
    if missing := sorted(set(required) - {queue["name"] for queue in existing}):
        yield f"missing queues: {', '.join(missing)}. site.yml creates them"


def faults(params: Mapping[str, Any], state: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each fault."""
    yield from unit_faults(state)
    if state["ActiveState"] not in ("active", "reloading"):
        return
    api = Api(params["port"])
    try:
        node = api.get("nodes", params["node"], columns="name,running,being_drained")
        yield from node_faults(node, api.get("health", "checks", "local-alarms"))
        if params["queues"]:
            yield from queue_faults(params["queues"], api.get("queues", params["vhost"], disable_stats="true"))
    except ApiFault as fault:
        yield str(fault)


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "node": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "vhost": {"type": "str", "required": True},
        "queues": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    state = properties(module, [UNIT], ["ActiveState", "SubState", "UnitFileState"])[UNIT]
    if messages := list(faults(module.params, state)):
        module.fail_json(msg=f"{'; '.join(messages)}. End of the journal:\n{journal(module, UNIT, JOURNAL_LINES)}")
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
