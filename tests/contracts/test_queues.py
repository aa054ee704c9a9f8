"""What the broker's definitions promise to those who may not define anything themselves."""

from typing import Any

from .checkout import ROOT, load

BROKER: dict[str, Any] = load(ROOT / "inventory" / "group_vars" / "broker.yml")


def test_nobody_but_the_definitions_makes_a_queue_so_none_goes_by_itself() -> None:
    assert [name for name, rights in BROKER["rabbitmq_users"].items() if rights.get("configure")] == []
    definitions = {name: policy["definition"] for name, policy in BROKER["rabbitmq_policies"].items()}
    assert [name for name, definition in definitions.items() if "expires" in definition] == []
