#!/usr/bin/python3
"""A database of a MariaDB server, its users and their rights."""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.mariadb_client import (  # type: ignore[import-untyped]  # found by Ansible
    Client,
    SqlFault,
    identifier,
    quoted,
)

DOCUMENTATION = """
module: mariadb_database
short_description: A database of a MariaDB server, its users and their rights
description:
  - Creates the database, creates and alters users, grants and revokes rights, until they are as described. Drops all
    other users except those that MariaDB has by itself (root, mysql, mariadb.sys), which authenticate over the socket.
  - A user with networks authenticates with a certificate of the CA, whose common name is the user, and has no password;
    a user without networks authenticates over the socket, as the user of the same name of the host.
  - Rights on a table are granted when the table exists; until then they are in C(pending).
  - Runs as root through the command C(mariadb) over the socket. Check mode reports the same changes and the same
    C(diff) without making them, also on a host where MariaDB does not run yet.
options:
  database: {type: str, required: true, description: Name of the database.}
  users:
    type: dict
    required: true
    description:
      - User to C(networks) (list of CIDRs) and C(rights), table to privileges, for example
        C(SELECT, UPDATE (balance)); the table C(*) is the whole database.
  ca_file: {type: path, required: true, description: Certificate (PEM) of the CA of the users' certificates.}
  running: {type: bool, default: true, description: "Whether the server runs; false only in check mode."}
author: frota
"""

EXAMPLES = """
- mariadb_database:
    database: frota_peers
    ca_file: /etc/frota/certificates/ca.crt
    users:
      peer_worker: {networks: [10.42.0.0/16], rights: {users: SELECT, contas: "SELECT, UPDATE (saldo)"}}
      backup: {rights: {"*": "SELECT, TRIGGER"}}
"""

RETURN = """
pending: {type: list, elements: str, returned: success, description: Tables that do not exist yet.}
"""

OWN_USERS = ("root", "mysql", "mariadb.sys", "PUBLIC")
CERTIFICATE, SOCKET = "mysql_native_password", "unix_socket"
SSL_SPECIFIED = 3  # of `ssl_type` in mysql.global_priv: REQUIRE SUBJECT and ISSUER
GRANT = re.compile(r"GRANT (?P<privileges>.+) ON (?P<place>`(?:[^`]|``)+`\.(?:`(?:[^`]|``)+`|\*)) TO .*")
Right = tuple[str, str, str]  # place, privilege, column or ""


class Account(NamedTuple):
    """A user, and where it may come from."""

    user: str
    host: str

    def __str__(self) -> str:
        return f"{quoted(self.user)}@{quoted(self.host)}"


@dataclass(frozen=True)
class State:
    """How an account authenticates, and its rights."""

    authentication: str
    rights: frozenset[Right] = frozenset()


def host_of(network: str) -> str:
    """Return a network as the host part of an account. Raises ValueError."""
    parsed = ipaddress.ip_network(network)
    if parsed.version == 6:
        raise ValueError(f"{network}: MariaDB compares only IPv4 addresses with networks")
    return f"{parsed.network_address}/{parsed.netmask}" if parsed.prefixlen < 32 else str(parsed.network_address)


def privileges(text: str) -> Iterator[tuple[str, str]]:
    """Yield (privilege, column or "") of a list as in GRANT: `SELECT, UPDATE (a, b)`."""
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", text):
        name, _, columns = part.strip().partition("(")
        for column in columns.rstrip(")").split(","):
            if name.strip():
                yield name.strip().upper(), column.strip().strip("`")


def rights_of(place: str, text: str) -> set[Right]:
    """Return the rights of a list of privileges at a place."""
    return {(place, privilege, column) for privilege, column in privileges(text)}


def granted(lines: Iterable[str]) -> frozenset[Right]:
    """Return the rights in the output of SHOW GRANTS, without the first line's USAGE."""
    matches = filter(None, map(GRANT.fullmatch, lines))
    return frozenset(right for match in matches for right in rights_of(match["place"], match["privileges"]))


def authentication_of(private: Mapping[str, Any]) -> str:
    """Return how an account authenticates, as the clauses of ALTER USER; `private` is its JSON in mysql.global_priv."""
    known = {"plugin", "authentication_string", "ssl_type", "x509_subject", "x509_issuer", "access", "version_id"}
    known |= {"password_last_changed", "password_lifetime", "default_role", "is_role"}
    others = sorted(key for key in private.keys() - known if private[key])
    if others or private.get("access") or private.get("authentication_string"):
        return f"otherwise ({', '.join(others) or 'a password or global rights'})"
    if private.get("plugin") == SOCKET:
        return socket_authentication() if not private.get("ssl_type") else "otherwise (TLS over the socket)"
    if private.get("plugin", CERTIFICATE) not in (CERTIFICATE, "") or private.get("ssl_type") != SSL_SPECIFIED:
        return "otherwise (not by a certificate)"
    return certificate_authentication(private.get("x509_subject", ""), private.get("x509_issuer", ""))


def certificate_authentication(subject: str, issuer: str) -> str:
    """Return the clauses for an account without a password, which needs a certificate."""
    identified = f"IDENTIFIED VIA {CERTIFICATE} USING ''"
    return f"{identified} REQUIRE ISSUER {quoted(issuer)} AND SUBJECT {quoted(subject)}"


def socket_authentication() -> str:
    """Return the clauses for an account that authenticates as a user of the host."""
    return f"IDENTIFIED VIA {SOCKET} REQUIRE NONE"


def desired_states(users: Mapping[str, Any], database: str, issuer: str, tables: Iterable[str]) -> dict[Account, State]:
    """Return the desired state of every account; rights on missing tables are left out. Raises ValueError."""
    existing = {*tables, "*"}
    states: dict[Account, State] = {}
    for user, described in users.items():
        rights = frozenset(
            right
            for table, text in described.get("rights", {}).items()
            if table in existing
            for right in rights_of(place_of(database, table), text)
        )
        networks = described.get("networks") or []
        by_certificate = certificate_authentication(f"/CN={user}", issuer)
        hosts = [host_of(network) for network in networks] or ["localhost"]
        authentication = by_certificate if networks else socket_authentication()
        states |= {Account(user, host): State(authentication, rights) for host in hosts}
    return states


def place_of(database: str, table: str) -> str:
    return f"{identifier(database)}.{'*' if table == '*' else identifier(table)}"


def pending_tables(users: Mapping[str, Any], tables: Iterable[str]) -> list[str]:
    """Return the tables with rights that do not exist."""
    named = {table for described in users.values() for table in described.get("rights", {})}
    return sorted(named - {*tables, "*"})


@dataclass
class Plan:
    """The statements that make the current state the desired one, and the lines of their diff."""

    statements: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def diff(self) -> dict[str, str]:
        """Return the differences in the format of Ansible's --diff."""
        texts = ("".join(f"{line}\n" for line in sorted(lines)) for lines in (self.before, self.after))
        before, after = texts
        return {"before_header": "MariaDB", "after_header": "MariaDB", "before": before, "after": after}


def plan_for(
    database: str, *, exists: bool, current: Mapping[Account, State], desired: Mapping[Account, State]
) -> Plan:
    """Compare accounts and database."""
    plan = Plan()
    if not exists:
        plan.statements.append(f"CREATE DATABASE {identifier(database)} CHARACTER SET utf8mb4")
        plan.after.append(f"database {database}")
    for account in sorted(current.keys() - desired.keys()):
        plan.statements.append(f"DROP USER {account}")
        plan.before.append(f"user {account}")
    for account, state in sorted(desired.items()):
        _compare(plan, account, current.get(account), state)
    return plan


def _compare(plan: Plan, account: Account, current: State | None, desired: State) -> None:
    if current is None or current.authentication != desired.authentication:
        created = current is None or current.authentication.startswith("otherwise")
        verb = "CREATE OR REPLACE USER" if created else "ALTER USER"
        plan.statements.append(f"{verb} {account} {desired.authentication}")
        plan.before += [f"{account} {current.authentication}"] if current else []
        plan.after.append(f"{account} {desired.authentication}")
        current = State("") if created or current is None else current
    for rights, verb, word, lines in (
        (current.rights - desired.rights, "REVOKE", "FROM", plan.before),
        (desired.rights - current.rights, "GRANT", "TO", plan.after),
    ):
        for place, text in listed(rights):
            plan.statements.append(f"{verb} {text} ON {place} {word} {account}")
            lines.append(f"{account} {text} ON {place}")


def listed(rights: Iterable[Right]) -> Iterator[tuple[str, str]]:
    """Yield (place, list of privileges as in GRANT) of rights."""
    places: dict[str, dict[str, list[str]]] = {}
    for place, privilege, column in sorted(rights):
        places.setdefault(place, {}).setdefault(privilege, []).append(column)
    for place, columns_of in places.items():
        texts = []
        for privilege, columns in columns_of.items():
            texts += [privilege] if "" in columns else []
            named = ", ".join(identifier(column) for column in columns if column)
            texts += [f"{privilege} ({named})"] if named else []
        yield place, ", ".join(texts)


def issuer_of(module: AnsibleModule, ca_file: str) -> str:
    """Return the CA's subject in the format of REQUIRE ISSUER, "" in check mode without a file. Raises SqlFault."""
    code, out, err = module.run_command(["openssl", "x509", "-in", ca_file, "-noout", "-subject", "-nameopt", "compat"])
    if code and not module.check_mode:
        raise SqlFault(f"{ca_file}: {err.strip()}")
    return str(out).strip().removeprefix("subject=").strip()


def current_states(client: Client) -> dict[Account, State]:
    """Return every account, except MariaDB's own. Raises SqlFault."""
    states = {}
    for user, host, private in client.rows("SELECT User, Host, Priv FROM mysql.global_priv"):
        if user in OWN_USERS:
            continue
        account = Account(user, host)
        lines = [row[0] for row in client.rows(f"SHOW GRANTS FOR {account}")]
        states[account] = State(authentication_of(json.loads(private)), granted(lines))
    return states


def compared(module: AnsibleModule) -> tuple[Plan, list[str]]:
    """Compare the server with its description; return the plan and the pending tables. Raises SqlFault, ValueError."""
    database, users, client = module.params["database"], module.params["users"], Client(module)
    tables: list[str] = []
    current: dict[Account, State] = {}
    exists = False
    if module.params["running"]:
        exists, tables, current = client.has_database(database), client.tables(database), current_states(client)
    desired = desired_states(users, database, issuer_of(module, module.params["ca_file"]), tables)
    return plan_for(database, exists=exists, current=current, desired=desired), pending_tables(users, tables)


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "database": {"type": "str", "required": True},
        "users": {"type": "dict", "required": True},
        "ca_file": {"type": "path", "required": True},
        "running": {"type": "bool", "default": True},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        plan, pending = compared(module)
        if not module.check_mode:
            Client(module).execute(plan.statements)
    except (SqlFault, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(plan.statements), pending=pending, diff=[plan.diff()] if plan.statements else [])


if __name__ == "__main__":
    main()
