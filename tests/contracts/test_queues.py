"""What the broker's definitions promise to those who may not define anything themselves."""

import re
from typing import Any

from frota.images.messages import DEAD, EVENTS, REQUEUE

from .checkout import ROOT, load

BROKER: dict[str, Any] = load(ROOT / "inventory" / "group_vars" / "broker.yml")


def test_queues_are_declared_by_definitions() -> None:
    """Queues are declared by the broker's definitions only, so none expires."""
    assert [name for name, rights in BROKER["rabbitmq_users"].items() if rights.get("configure")] == []
    definitions = {name: policy["definition"] for name, policy in BROKER["rabbitmq_policies"].items()}
    assert [name for name, definition in definitions.items() if "expires" in definition] == []


def test_publish_permissions() -> None:
    """Each user of the broker may publish where its service does, and nowhere else."""
    by_name = "amq.default"  # as the broker calls the exchange that leads to a queue by its name
    permissions = {
        name: {place for place in (by_name, DEAD, EVENTS, REQUEUE) if re.search(rights.get("write", "^$"), place)}
        for name, rights in BROKER["rabbitmq_users"].items()
    }
    assert permissions == {
        "image_producer": {by_name},
        "image_worker": {DEAD, EVENTS, REQUEUE},
        "image_operator": {by_name, EVENTS},
    }
