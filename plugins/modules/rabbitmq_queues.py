#!/usr/bin/python3
"""The queues of a broker and how many messages and consumers each has."""

from collections import Counter
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.rabbitmq_api import Api, ApiFault  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: rabbitmq_queues
short_description: The queues of a broker, with their messages and consumers
description:
  - Asks the management API of the node on the host; starts no command of Erlang's. Changes nothing.
options:
  vhost: {type: str, required: true, description: The virtual host.}
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
  description: Name of each queue to its messages, those that are C(ready) or C(unacknowledged), and its C(consumers).
  sample: {work: {messages: 3, ready: 1, unacknowledged: 2, consumers: 1}}
"""

COUNTS = {"messages": "messages", "ready": "messages_ready", "unacknowledged": "messages_unacknowledged"}


def counted(listed: list[dict[str, Any]], consumers: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return what is told of each queue. Raises ApiFault for one without a count: its leader is just being elected."""
    readers = Counter(consumer["queue"]["name"] for consumer in consumers)
    for queue in listed:
        if any(key not in queue for key in COUNTS.values()):
            raise ApiFault(f"{queue['name']} has no count of its messages at the moment: ask again")
    return {
        queue["name"]: {**{name: queue[key] for name, key in COUNTS.items()}, "consumers": readers[queue["name"]]}
        for queue in listed
    }


def main() -> None:
    """Run as a module of Ansible's."""
    spec = {"vhost": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    api, vhost = Api(module.params["port"]), module.params["vhost"]
    try:
        # As the queues count themselves; the statistics of the management pages are seconds behind, and may lack some.
        listed = api.get("queues", vhost, disable_stats="true", enable_queue_totals="true")
        queues = counted(listed, api.get("consumers", vhost))
    except ApiFault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=False, queues=queues)


if __name__ == "__main__":
    main()
