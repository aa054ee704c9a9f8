#!/usr/bin/python3
"""The queues of a RabbitMQ broker with their numbers of messages and consumers."""

from collections import Counter
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.rabbitmq_api import Api, ApiFault  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: rabbitmq_queues
short_description: The queues of a RabbitMQ broker with their numbers of messages and consumers
description:
  - Queries the management API of the host's node; runs no rabbitmqctl command. Changes nothing.
options:
  vhost: {type: str, required: true, description: Virtual host.}
  port: {type: int, required: true, description: "Port of the management API, at 127.0.0.1."}
author: frota
"""

EXAMPLES = """
- rabbitmq_queues: {vhost: frota, port: 15672}
  register: __queues
"""

RETURN = """
queues:
  type: dict
  returned: success
  description: Queue to its numbers of C(messages), C(ready) and C(unacknowledged) ones, and C(consumers).
  sample: {work: {messages: 3, ready: 1, unacknowledged: 2, consumers: 1}}
"""

COUNTS = {"messages": "messages", "ready": "messages_ready", "unacknowledged": "messages_unacknowledged"}


def queue_counts(queues: list[dict[str, Any]], consumers: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the counts of each queue. Raises ApiFault for a queue without a count, during its leader election."""
    consumer_counts = Counter(consumer["queue"]["name"] for consumer in consumers)
    for queue in queues:
        if any(key not in queue for key in COUNTS.values()):
            raise ApiFault(f"{queue['name']} has no count of its messages during a leader election: run this again")
    return {
        queue["name"]: {
            **{name: queue[key] for name, key in COUNTS.items()},
            "consumers": consumer_counts[queue["name"]],
        }
        for queue in queues
    }


def main() -> None:
    """Run as an Ansible module."""
    spec = {"vhost": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    api, vhost = Api(module.params["port"]), module.params["vhost"]
    try:
        # The queues' own totals; the management statistics are seconds late and may be incomplete.
        totals = api.get("queues", vhost, disable_stats="true", enable_queue_totals="true")
        queues = queue_counts(totals, api.get("consumers", vhost))
    except ApiFault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=False, queues=queues)


if __name__ == "__main__":
    main()
