"""The module `rabbitmq_broker` without a broker: what it compares, what it concludes, and what it shows."""

from typing import Any

import pytest

from .modules import load, share

_API = share("rabbitmq_api")
_MODULE = load("rabbitmq_broker")

_QUEUE = {"name": "work", "vhost": "frota", "durable": True, "type": "quorum", "arguments": {}}
_POLICY = {
    "name": "work",
    "vhost": "frota",
    "pattern": "^work$",
    "apply-to": "queues",
    "definition": {"delivery-limit": 5},
    "priority": 0,
}
_RIGHTS = {"user": "worker", "vhost": "frota", "configure": "^$", "write": "^$", "read": "^work$"}
_DEFINED: dict[str, list[dict[str, Any]]] = {
    "vhosts": [{"name": "frota"}],
    "users": [{"name": "worker", "password_hash": "", "tags": []}],
    "permissions": [_RIGHTS],
    "policies": [_POLICY],
    "queues": [_QUEUE],
    "exchanges": [{"name": "dead", "vhost": "frota", "type": "fanout", "durable": True}],
    "bindings": [{"source": "dead", "vhost": "frota", "destination": "work", "routing_key": ""}],
}


def _words(wanted: Any, found: Any) -> list[str]:
    return [change.words for change in _MODULE.compare(wanted, found)]


def test_a_broker_that_is_as_defined_has_no_change() -> None:
    found = {kind: [{**entry, "more": "of its own"} for entry in entries] for kind, entries in _DEFINED.items()}
    assert _words(_DEFINED, found) == []


@pytest.mark.parametrize("kind", list(_DEFINED))
def test_whatever_somebody_has_deleted_is_defined_again(kind: str) -> None:
    [words] = _words(_DEFINED, {**_DEFINED, kind: []})
    assert words.startswith(f"define {kind} ")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("users", {"password_hash": "of a password"}),
        ("users", {"tags": ["administrator"]}),
        ("permissions", {"configure": ".*"}),
        ("policies", {"definition": {"delivery-limit": 7}}),
        ("policies", {"priority": 1}),
    ],
)
def test_whatever_somebody_has_changed_is_changed_back(kind: str, change: dict[str, Any]) -> None:
    [words] = _words(_DEFINED, {**_DEFINED, kind: [{**_DEFINED[kind][0], **change}]})
    assert words.startswith(f"define {kind} ")


def test_users_rights_and_policies_that_are_not_defined_are_removed_and_what_holds_messages_stays() -> None:
    changes = list(_MODULE.compare({}, _DEFINED))
    assert {change.words: change.resource for change in changes} == {
        "remove users worker": ("users", "worker"),
        "remove permissions worker frota": ("permissions", "frota", "worker"),
        "remove policies frota work": ("policies", "frota", "work"),
    }


def test_a_difference_shows_what_is_compared_and_no_hash_of_a_password() -> None:
    mine = {"name": "ansible", "password_hash": "bmV3", "tags": ["administrator"]}
    former = {**mine, "password_hash": "Zm9ybWVy", "limits": {}}
    [change] = _MODULE.compare({"users": [mine]}, {"users": [former]})
    shown = _MODULE.Plan([], [change]).diff()
    assert shown["before"] == 'users: {"name": "ansible", "password_hash": "(former)", "tags": ["administrator"]}\n'
    assert shown["after"] == 'users: {"name": "ansible", "password_hash": "(new)", "tags": ["administrator"]}\n'


def test_a_node_that_runs_lacks_a_member_of_each_quorum_queue_that_has_none_there() -> None:
    queues = [
        {"name": "work", "vhost": "frota", "type": "quorum", "members": ["rabbit@one"]},
        {"name": "dead", "vhost": "frota", "type": "quorum", "members": ["rabbit@one", "rabbit@two"]},
        {"name": "mine", "vhost": "other", "type": "classic"},
    ]
    assert _MODULE.lacking(queues, {"rabbit@one", "rabbit@two"}) == [("frota", "rabbit@two")]
    assert _MODULE.lacking(queues, {"rabbit@one"}) == []


class _Api:
    """Says of a broker what a test has laid down."""

    def __init__(self, nodes: dict[str, bool], definitions: Any) -> None:
        self.resources = {
            "nodes": [{"name": name, "running": runs} for name, runs in nodes.items()],
            "definitions": definitions,
            "queues": [{"vhost": "frota", "type": "quorum", "members": ["rabbit@one"]}],
        }

    def get(self, name: str, **_: str) -> Any:
        return self.resources[name]

    def user(self) -> dict[str, Any]:
        return {"name": "ansible", "password_hash": "", "tags": []}


def _plan(found_nodes: dict[str, bool], **params: Any) -> Any:
    wanted = {"nodes": ["rabbit@one", "rabbit@two"], "present": [], "lost": [], "definitions": _DEFINED}
    found = {**_DEFINED, "users": [*_DEFINED["users"], {"name": "ansible", "password_hash": "", "tags": []}]}
    return _MODULE.Broker({**wanted, **params}, _Api(found_nodes, found), None).plan()


def test_a_node_that_is_not_listed_and_does_not_run_is_forgotten() -> None:
    plan = _plan({"rabbit@one": True, "rabbit@two": True, "rabbit@old": False})
    assert plan.words() == ["forget rabbit@old", "members on rabbit@two for the queues of frota"]


def test_nodes_that_lost_their_disks_are_forgotten_where_they_were_known_and_nothing_else_is_done() -> None:
    plan = _plan({"rabbit@one": True, "rabbit@two": False}, lost=["rabbit@two", "rabbit@new"], definitions={})
    assert plan.words() == ["forget rabbit@two"]


def test_a_single_node_that_is_as_defined_has_no_change() -> None:
    assert _plan({"rabbit@one": True}, nodes=["rabbit@one"]).words() == []


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ({"rabbit@one": True, "rabbit@two": False}, "rabbit@two: not in the cluster of rabbit@one"),
        ({"rabbit@one": True, "rabbit@two": True, "rabbit@old": True}, "rabbit@old: not in the inventory"),
    ],
)
def test_a_cluster_that_is_not_what_the_inventory_says_is_left_alone(nodes: dict[str, bool], fault: str) -> None:
    with pytest.raises(_API.ApiFault, match=f"^{fault}"):
        _plan(nodes, present=["rabbit@one", "rabbit@two"])


def test_a_user_of_the_name_that_configures_the_broker_is_refused() -> None:
    with pytest.raises(_API.ApiFault, match="choose another name"):
        _plan({"rabbit@one": True}, nodes=["rabbit@one"], definitions={"users": [{"name": "ansible"}]})


def test_a_node_with_an_older_port_is_asked_for_it() -> None:
    said = '{"listeners": [{"port": 25672, "purpose": "CLI"}, {"port": 15673, "purpose": "HTTP API"}]}'
    assert _MODULE.port_in_use(lambda _: (0, said, "")) == 15673
    with pytest.raises(_API.ApiFault, match="no management API: it does not run"):
        _MODULE.port_in_use(lambda _: (69, "", "it does not run"))
