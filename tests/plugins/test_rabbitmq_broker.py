"""The module `rabbitmq_broker` without a broker: comparison, plan, --diff."""

from typing import Any

import pytest

from .modules import load, load_util

_API = load_util("rabbitmq_api")
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
_PERMISSIONS = {"user": "worker", "vhost": "frota", "configure": "^$", "write": "^$", "read": "^work$"}
_DEFINED: dict[str, list[dict[str, Any]]] = {
    "vhosts": [{"name": "frota"}],
    "users": [{"name": "worker", "password_hash": "", "tags": []}],
    "permissions": [_PERMISSIONS],
    "policies": [_POLICY],
    "queues": [_QUEUE],
    "exchanges": [{"name": "dead", "vhost": "frota", "type": "fanout", "durable": True}],
    "bindings": [{"source": "dead", "vhost": "frota", "destination": "work", "routing_key": ""}],
}


def _changes(desired: Any, current: Any) -> list[str]:
    return [change.description for change in _MODULE.compare(desired, current)]


def test_matching_broker_has_no_changes() -> None:
    """A broker that matches its definitions has no changes; additional keys are ignored."""
    current = {kind: [{**entry, "other": "value"} for entry in entries] for kind, entries in _DEFINED.items()}
    assert _changes(_DEFINED, current) == []


@pytest.mark.parametrize("kind", list(_DEFINED))
def test_missing_definition_is_created(kind: str) -> None:
    """A missing definition of any kind is created again."""
    [description] = _changes(_DEFINED, {**_DEFINED, kind: []})
    assert description.startswith(f"define {kind} ")


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
def test_changed_definition_is_restored(kind: str, change: dict[str, Any]) -> None:
    """A changed value of a definition is restored."""
    [description] = _changes(_DEFINED, {**_DEFINED, kind: [{**_DEFINED[kind][0], **change}]})
    assert description.startswith(f"define {kind} ")


def test_unlisted_definitions_are_removed() -> None:
    """Unlisted users, permissions and policies are removed; whatever holds messages stays."""
    changes = list(_MODULE.compare({}, _DEFINED))
    assert {change.description: change.resource for change in changes} == {
        "remove users worker": ("users", "worker"),
        "remove permissions worker frota": ("permissions", "frota", "worker"),
        "remove policies frota work": ("policies", "frota", "work"),
    }


def test_diff_contains_no_password_hash() -> None:
    """--diff shows the compared values with placeholders for password hashes."""
    new = {"name": "ansible", "password_hash": "bmV3", "tags": ["administrator"]}
    former = {**new, "password_hash": "Zm9ybWVy", "limits": {}}
    [change] = _MODULE.compare({"users": [new]}, {"users": [former]})
    diff = _MODULE.Plan([], [change]).diff()
    assert diff["before"] == 'users: {"name": "ansible", "password_hash": "(former)", "tags": ["administrator"]}\n'
    assert diff["after"] == 'users: {"name": "ansible", "password_hash": "(new)", "tags": ["administrator"]}\n'


def test_missing_queue_members() -> None:
    """Every running node without a member of a quorum queue is found."""
    queues = [
        {"name": "work", "vhost": "frota", "type": "quorum", "members": ["rabbit@one"]},
        {"name": "dead", "vhost": "frota", "type": "quorum", "members": ["rabbit@one", "rabbit@two"]},
        {"name": "mine", "vhost": "other", "type": "classic"},
    ]
    assert _MODULE.missing_members(queues, {"rabbit@one", "rabbit@two"}) == [("frota", "rabbit@two")]
    assert _MODULE.missing_members(queues, {"rabbit@one"}) == []


class _Api:
    """Returns the resources that a test defines."""

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


def _plan(cluster: dict[str, bool], **params: Any) -> Any:
    options = {"nodes": ["rabbit@one", "rabbit@two"], "present": [], "lost": [], "definitions": _DEFINED}
    current = {**_DEFINED, "users": [*_DEFINED["users"], {"name": "ansible", "password_hash": "", "tags": []}]}
    return _MODULE.Broker({**options, **params}, _Api(cluster, current), None).plan()


def test_stopped_unlisted_node_is_forgotten() -> None:
    """A stopped node that is not listed is forgotten."""
    plan = _plan({"rabbit@one": True, "rabbit@two": True, "rabbit@old": False})
    assert plan.descriptions() == ["forget rabbit@old", "members on rabbit@two for the queues of frota"]


def test_only_lost_nodes_are_forgotten() -> None:
    """With `lost` the known lost nodes are forgotten, and nothing else is changed."""
    plan = _plan({"rabbit@one": True, "rabbit@two": False}, lost=["rabbit@two", "rabbit@new"], definitions={})
    assert plan.descriptions() == ["forget rabbit@two"]


def test_matching_single_node_has_no_changes() -> None:
    """A single node that matches its definitions has no changes."""
    assert _plan({"rabbit@one": True}, nodes=["rabbit@one"]).descriptions() == []


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ({"rabbit@one": True, "rabbit@two": False}, "rabbit@two: not in the cluster of rabbit@one"),
        ({"rabbit@one": True, "rabbit@two": True, "rabbit@old": True}, "rabbit@old: not in the inventory"),
    ],
)
def test_unexpected_cluster_is_an_error(nodes: dict[str, bool], fault: str) -> None:
    """A missing member or a running unlisted node is an error."""
    with pytest.raises(_API.ApiFault, match=f"^{fault}"):
        _plan(nodes, present=["rabbit@one", "rabbit@two"])


def test_reserved_user_name_is_rejected() -> None:
    """The user name of the module itself is rejected in the definitions."""
    with pytest.raises(_API.ApiFault, match="choose another name"):
        _plan({"rabbit@one": True}, nodes=["rabbit@one"], definitions={"users": [{"name": "ansible"}]})


def test_port_of_former_settings() -> None:
    """The API port of a node with former settings is read from its listeners."""
    output = '{"listeners": [{"port": 25672, "purpose": "CLI"}, {"port": 15673, "purpose": "HTTP API"}]}'
    assert _MODULE.port_in_use(lambda _: (0, output, "")) == 15673
    with pytest.raises(_API.ApiFault, match="no management API: not running"):
        _MODULE.port_in_use(lambda _: (69, "", "not running"))
