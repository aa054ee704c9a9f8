"""The module `mariadb_database` without a database: comparison, statements, --diff."""

from typing import Any

import pytest

from .modules import load, load_util

_CLIENT = load_util("mariadb_client")
_MODULE = load("mariadb_database")
_ISSUER = "/CN=frota CA"
_TABLES = ("contas", "users")
_USERS: dict[str, Any] = {
    "worker": {"networks": ["10.42.0.0/16"], "rights": {"contas": "SELECT, UPDATE (saldo, updated_at)"}},
    "backup": {"rights": {"*": "SELECT, TRIGGER"}},
}
_WORKER, _BACKUP = _MODULE.Account("worker", "10.42.0.0/255.255.0.0"), _MODULE.Account("backup", "localhost")
_PRIVATE = {
    "access": 0,
    "version_id": 110803,
    "plugin": "mysql_native_password",
    "authentication_string": "",
    "password_last_changed": 1795000000,
    "ssl_type": 3,
    "ssl_cipher": "",
    "x509_issuer": _ISSUER,
    "x509_subject": "/CN=worker",
}


def _desired(users: dict[str, Any] = _USERS, tables: tuple[str, ...] = _TABLES) -> dict[Any, Any]:
    states: dict[Any, Any] = _MODULE.desired_states(users, "shop", _ISSUER, tables)
    return states


def _plan(current: dict[Any, Any], users: dict[str, Any] = _USERS, *, exists: bool = True) -> Any:
    return _MODULE.plan_for("shop", exists=exists, current=current, desired=_desired(users))


def test_server_that_is_as_described_has_no_changes() -> None:
    """What the plan creates is what the next comparison finds, in the format that MariaDB has."""
    lines = [
        "GRANT USAGE ON *.* TO `worker`@`10.42.0.0/255.255.0.0` REQUIRE ISSUER '/CN=frota CA' SUBJECT '/CN=worker'",
        "GRANT SELECT, UPDATE (`updated_at`, `saldo`) ON `shop`.`contas` TO `worker`@`10.42.0.0/255.255.0.0`",
    ]
    worker = _MODULE.State(_MODULE.authentication_of(_PRIVATE), _MODULE.granted(lines))
    socket = _MODULE.authentication_of({"access": 0, "plugin": "unix_socket", "authentication_string": ""})
    backup = _MODULE.State(
        socket,
        _MODULE.granted(
            ["GRANT USAGE ON *.* TO `backup`@`localhost`", "GRANT SELECT, TRIGGER ON `shop`.* TO `backup`@`localhost`"]
        ),
    )
    assert _plan({_WORKER: worker, _BACKUP: backup}).statements == []


def test_new_server() -> None:
    """On a new server the database comes first, then each user with its rights."""
    plan = _plan({}, exists=False)
    required = "REQUIRE ISSUER '/CN=frota CA' AND SUBJECT '/CN=worker'"
    assert plan.statements == [
        "CREATE DATABASE `shop` CHARACTER SET utf8mb4",
        "CREATE OR REPLACE USER 'backup'@'localhost' IDENTIFIED VIA unix_socket REQUIRE NONE",
        "GRANT SELECT, TRIGGER ON `shop`.* TO 'backup'@'localhost'",
        f"CREATE OR REPLACE USER {_WORKER} IDENTIFIED VIA mysql_native_password USING '' {required}",
        f"GRANT SELECT, UPDATE (`saldo`, `updated_at`) ON `shop`.`contas` TO {_WORKER}",
    ]
    assert plan.diff()["before"] == ""


def test_unlisted_user_is_dropped() -> None:
    guest = _MODULE.Account("guest", "%")
    plan = _plan({**_desired(), guest: _MODULE.State("otherwise (a password)")})
    assert plan.statements == ["DROP USER 'guest'@'%'"]
    assert plan.diff()["before"] == "user 'guest'@'%'\n"


def test_only_the_differing_rights_are_changed() -> None:
    """A right too many is revoked, a missing one granted, and the others stay meanwhile."""
    rights = _MODULE.rights_of("`shop`.`contas`", "SELECT, DELETE, UPDATE (saldo)")
    state = _MODULE.State(_desired()[_WORKER].authentication, frozenset(rights))
    plan = _plan({**_desired(), _WORKER: state})
    assert plan.statements == [
        f"REVOKE DELETE ON `shop`.`contas` FROM {_WORKER}",
        f"GRANT UPDATE (`updated_at`) ON `shop`.`contas` TO {_WORKER}",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"authentication_string": "*6BB4837EB74329105EE4568DDA7DC67ED2CA2AD9"},
        {"ssl_type": 1},
        {"access": 2},
        {"plugin": "ed25519"},
        {"account_locked": True},
        {"auth_or": [{}]},
    ],
)
def test_user_that_authenticates_otherwise_is_replaced(change: dict[str, Any]) -> None:
    """A password, a certificate of anybody, or global rights: the user is created again, with its rights."""
    state = _MODULE.State(_MODULE.authentication_of({**_PRIVATE, **change}), _desired()[_WORKER].rights)
    plan = _plan({**_desired(), _WORKER: state})
    assert [statement.split(" ")[0] for statement in plan.statements] == ["CREATE", "GRANT"]


def test_certificates_of_another_authority_are_no_longer_accepted() -> None:
    former = _MODULE.authentication_of({**_PRIVATE, "x509_issuer": "/CN=former"})
    plan = _plan({**_desired(), _WORKER: _MODULE.State(former, _desired()[_WORKER].rights)})
    assert [statement.split(" USER ")[0] for statement in plan.statements] == ["ALTER"]


def test_rights_on_missing_tables_are_pending() -> None:
    """Before the migration the users have no rights on its tables."""
    assert _desired(tables=())[_WORKER].rights == frozenset()
    assert _MODULE.pending_tables(_USERS, ()) == ["contas"]
    assert _MODULE.pending_tables(_USERS, _TABLES) == []


def test_network_of_a_user() -> None:
    """A user comes from each of its networks; MariaDB cannot compare IPv6 networks."""
    assert [_MODULE.host_of(network) for network in ("10.42.0.0/16", "10.0.0.7/32")] == [
        "10.42.0.0/255.255.0.0",
        "10.0.0.7",
    ]
    with pytest.raises(ValueError, match="IPv4"):
        _MODULE.host_of("fd00::/64")


def test_names_and_texts_are_quoted() -> None:
    assert (_CLIENT.quoted("o'\\"), _CLIENT.identifier("a`b")) == ("'o''\\\\'", "`a``b`")
