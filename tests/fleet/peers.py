"""The servers of the peers, their workers and their database, and an audit of what was accepted."""

import json
import secrets
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from .fleet import Fleet
from .hosts import Host, until
from .load import Load, load

SERVER, WORKERS, DATABASE = "frota-peer-server.service", "frota-peer-worker@*.service", "mariadb.service"
_PYTHON = "/opt/frota/current/bin/python"
_CERTIFICATE = "/etc/frota/certificates/peer_migration.crt"


def sql(fleet: Fleet, statement: str) -> list[list[str]]:
    """Return the rows of a statement, as root of the database."""
    command = ["mariadb", "--batch", "--skip-column-names", f"--execute={statement}", "frota_peers"]
    return [line.split("\t") for line in fleet.database.run(shlex.join(command)).splitlines()]


def new_accounts(count: int) -> list[str]:
    """Return CPFs that no account has yet, so that a test sees its own changes only."""
    return [f"7{secrets.randbelow(10**10):010}" for _ in range(count)]


def create_accounts(fleet: Fleet, cpfs: list[str]) -> None:
    """Create accounts of 0.00 that are missing, as a migration does."""
    files = {"ca-file": "/etc/frota/certificates/ca.crt", "cert-file": _CERTIFICATE}
    files["key-file"] = "/etc/frota/credentials/peer_migration.key"
    words = [f"--database=mariadb://peer_migration@{fleet.database.address}:{fleet.mariadb_port}/frota_peers"]
    words += [f"--database-{name}={path}" for name, path in files.items()]
    words += [f"--account={cpf}:Aceite {cpf}" for cpf in cpfs]
    # The host on which migrations run has their certificate.
    host = next(host for host in fleet.peer_servers if host.try_to_run(f"test -e {_CERTIFICATE} && echo yes"))
    host.run(f"frota peers migrate --state-dir /var/lib/frota {shlex.join(words)}")


def status(server: Host) -> dict[str, Any]:
    """Return what a server says of itself; nothing if it does not answer."""
    answer = server.try_to_run("timeout 20 frota peers status --json")
    return dict(json.loads(answer)) if answer else {}


def are_home(fleet: Fleet) -> bool:
    """Return whether every worker is at its own server, and no server has one of another."""
    states = [status(server).get("workers", {}) for server in fleet.peer_servers]
    own = sum(state.get("own_here", 0) for state in states)
    away = sum(state[name] for state in states if state for name in ("lent", "borrowed", "promised"))
    return all(states) and away == 0 and own == fleet.peer_workers_per_host * len(fleet.peer_workers)


def write_burst(fleet: Fleet, count: int) -> str:
    """Write UPDATEs of a few accounts to a file on the host that only submits; return its path."""
    cpfs = [f"8000000000{number}" for number in range(9)]
    create_accounts(fleet, cpfs)
    task = '{"TASK": "UPDATE", "CPF": "8000000000%d", "SALDO": %d.50}'
    script = f"for number in range({count}): print({task!r} % (number % 9, number))"
    fleet.peer_client.run_as_admin(f"python3 -c {shlex.quote(script)} >/tmp/burst")
    return "/tmp/burst"


@contextmanager
def updates(fleet: Fleet, cpfs: list[str], interval_s: float = 0.05) -> Iterator[Load]:
    """Submit UPDATEs of these accounts, from a host that only submits, for the time of a block."""
    create_accounts(fleet, cpfs)
    servers = [f"{server.address}:{fleet.peers_port}" for server in fleet.peer_servers]
    with load(fleet.peer_client, "peers_load.py", str(interval_s), ",".join(cpfs), *servers, python=_PYTHON) as running:
        yield running


def audit(fleet: Fleet, report: dict[str, Any]) -> None:
    """Check that every accepted UPDATE took effect once, and that no other one did that was not sent."""
    cpfs = list(report["accepted"])
    named = ", ".join(f"'{cpf}'" for cpf in cpfs)
    unfinished = f"SELECT COUNT(*) FROM tasks WHERE state NOT IN ('DONE', 'DEAD') AND account IN ({named})"
    until(lambda: sql(fleet, unfinished) == [["0"]], "tasks are still not executed")
    assert sql(fleet, f"SELECT id, reason FROM tasks WHERE state = 'DEAD' AND account IN ({named})") == []
    columns = "u.cpf, h.task_id, h.old_balance, h.new_balance, c.saldo"
    joined = "balance_history h JOIN contas c ON c.id = h.account_id JOIN users u ON u.id = c.fk_id_user"
    rows = sql(fleet, f"SELECT {columns} FROM {joined} WHERE u.cpf IN ({named}) ORDER BY h.id")
    for cpf in cpfs:
        _audit_account(cpf, [row[1:] for row in rows if row[0] == cpf], report["accepted"][cpf], report["sent"][cpf])


def _audit_account(cpf: str, rows: list[list[str]], accepted: dict[str, str], sent: int) -> None:
    applied = {task: balance for task, _, balance, _ in rows}
    assert {task: balance for task, balance in accepted.items() if applied.get(task) != balance} == {}, cpf
    twice = [balance for balance, times in Counter(balance for _, _, balance, _ in rows).items() if times > 1]
    assert twice == [], f"{cpf}: applied twice"
    assert {Decimal(balance) for balance in applied.values()} <= {
        Decimal(number).scaleb(-2) for number in range(sent + 1)
    }
    # Each change begins with the balance that the one before left, and the last one is the account's.
    assert [old for _, old, _, _ in rows[1:]] == [new for _, _, new, _ in rows[:-1]], cpf
    assert rows[-1][2] == rows[-1][3], cpf
