"""The modules that look at a broker: what they call a fault, and what they tell of its queues."""

from typing import Any

import pytest

from .modules import load, share

_API = share("rabbitmq_api")
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
def test_each_wrong_state_of_the_unit_is_a_sentence(state: dict[str, str], fault: list[str]) -> None:
    assert list(_HEALTH.unit_faults({**_UNIT, **state})) == fault


@pytest.mark.parametrize(
    ("node", "alarms", "fault"),
    [
        ({}, {"status": "ok"}, []),
        ({"running": False}, {"status": "ok"}, ["rabbit@one is not running"]),
        ({}, _ALARM, ["rabbit@one has an alarm that blocks publishers: memory"]),
    ],
)
def test_each_fault_of_a_node_is_a_sentence(node: dict[str, Any], alarms: dict[str, Any], fault: list[str]) -> None:
    assert list(_HEALTH.node_faults({**_NODE, **node}, alarms)) == fault


def test_a_node_that_was_drained_and_not_restarted_is_named_with_what_brings_it_back() -> None:
    [fault] = _HEALTH.node_faults({**_NODE, "being_drained": True}, {"status": "ok"})
    assert fault.endswith("Run: rabbitmq-upgrade revive")


def test_queues_that_are_not_there_are_named() -> None:
    assert list(_HEALTH.queue_faults(["b", "a", "c"], [{"name": "c"}, {"name": "d"}])) == [
        "missing queues: a, b. site.yml creates them"
    ]
    assert list(_HEALTH.queue_faults(["c"], [{"name": "c"}])) == []


def test_a_queue_is_told_with_its_messages_and_who_reads_it() -> None:
    queue = {"name": "work", "messages": 3, "messages_ready": 1, "messages_unacknowledged": 2}
    readers = [{"queue": {"name": "work", "vhost": "frota"}}, {"queue": {"name": "dead", "vhost": "frota"}}]
    told = {"work": {"messages": 3, "ready": 1, "unacknowledged": 2, "consumers": 1}}
    assert _QUEUES.counted([queue], readers) == told


def test_a_queue_without_a_count_is_no_empty_queue() -> None:
    with pytest.raises(_API.ApiFault, match="work has no count"):
        _QUEUES.counted([{"name": "work"}], [])
