"""The modules `rabbitmq_health` and `rabbitmq_queues` without a broker: faults and counts."""

from typing import Any

import pytest

from .modules import load, load_util

_API = load_util("rabbitmq_api")
_HEALTH, _QUEUES = load("rabbitmq_health"), load("rabbitmq_queues")
_UNIT = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}
_NODE = {"name": "rabbit@one", "running": True, "being_drained": False}
_ALARM = {"status": "failed", "reason": "in effect", "alarms": [{"node": "rabbit@one", "resource": "memory"}]}


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({}, []),
        ({"UnitFileState": "disabled"}, ["rabbitmq-server.service is not enabled"]),
        ({"ActiveState": "failed", "SubState": "failed"}, ["rabbitmq-server.service is not active: failed"]),
    ],
)
def test_unit_faults(state: dict[str, str], fault: list[str]) -> None:
    """Every wrong state of the unit is reported."""
    assert list(_HEALTH.unit_faults({**_UNIT, **state})) == fault


@pytest.mark.parametrize(
    ("node", "alarms", "fault"),
    [
        ({}, {"status": "ok"}, []),
        ({"running": False}, {"status": "ok"}, ["rabbit@one is not running"]),
        ({}, _ALARM, ["rabbit@one has an alarm that blocks publishers: memory"]),
    ],
)
def test_node_faults(node: dict[str, Any], alarms: dict[str, Any], fault: list[str]) -> None:
    """Every fault of the node is reported."""
    assert list(_HEALTH.node_faults({**_NODE, **node}, alarms)) == fault


def test_drained_node() -> None:
    """A drained node is reported with the command that ends its maintenance mode."""
    [fault] = _HEALTH.node_faults({**_NODE, "being_drained": True}, {"status": "ok"})
    assert fault.endswith("Run: rabbitmq-upgrade revive")


def test_missing_queues() -> None:
    """Missing queues are reported by name."""
    assert list(_HEALTH.queue_faults(["b", "a", "c"], [{"name": "c"}, {"name": "d"}])) == [
        "missing queues: a, b. site.yml creates them"
    ]
    assert list(_HEALTH.queue_faults(["c"], [{"name": "c"}])) == []


def test_counts_of_a_queue() -> None:
    """A queue is returned with its numbers of messages and consumers."""
    queue = {"name": "work", "messages": 3, "messages_ready": 1, "messages_unacknowledged": 2}
    consumers = [{"queue": {"name": "work", "vhost": "frota"}}, {"queue": {"name": "dead", "vhost": "frota"}}]
    counts = {"work": {"messages": 3, "ready": 1, "unacknowledged": 2, "consumers": 1}}
    assert _QUEUES.queue_counts([queue], consumers) == counts


def test_queue_without_counts_is_an_error() -> None:
    """A queue without counts is an error instead of an empty queue."""
    with pytest.raises(_API.ApiFault, match="work has no count"):
        _QUEUES.queue_counts([{"name": "work"}], [])
