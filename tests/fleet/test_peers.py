"""Tasks that a client on another host submits: results, rejections, traces, loans of workers, backups, scaling."""

import json
import secrets
from collections.abc import Iterator

import pytest

from .aws import client
from .fleet import Fleet
from .hosts import until
from .peers import SERVER, are_home, audit, create_accounts, lines_of_updates, new_cpfs, sql, updates

_CPF = "00000000017"
_MIN_TASKS = 300


def _submit(fleet: Fleet, words: str, environ: str = "") -> str:
    return fleet.peer_client.run_as_admin(f"{environ} timeout 120 frota peers submit {words} || true")


def test_tasks_from_another_host(fleet: Fleet) -> None:
    """An UPDATE and a QUERY are executed through each server; the trace id is in journal and database."""
    create_accounts(fleet, [_CPF])
    for number, server in enumerate(fleet.peer_servers):
        trace, balance = secrets.token_hex(16), f"{100 + number}.50"
        flags = f"--host {server.address} --json"
        environ = f"TRACEPARENT=00-{trace}-{secrets.token_hex(8)}-01"
        updated = json.loads(_submit(fleet, f"update --cpf {_CPF} --saldo {balance} {flags}", environ))
        read = json.loads(_submit(fleet, f"query --cpf {_CPF} {flags}"))
        assert [(result["ok"], result["saldo"]) for result in (updated, read)] == [(True, balance)] * 2
        assert sql(fleet, f"SELECT trace_id FROM balance_history WHERE task_id = '{updated['id']}'") == [[trace]]
        assert server.journal(f"TRACE_ID={trace}", f"--unit={SERVER}")


def test_rejected_tasks(fleet: Fleet) -> None:
    """A task that makes no sense is rejected with the reason, and one of an unknown account fails with it."""
    assert "11 digits" in _submit(fleet, "update --cpf 123 --saldo 1 2>&1")
    assert "--saldo" in _submit(fleet, f"update --cpf {_CPF} --saldo 1e400 2>&1")
    unknown = json.loads(_submit(fleet, "query --cpf 99999999990 --json"))
    assert (unknown["ok"], "not found" in unknown["error"].lower()) == (False, True)


def test_without_the_right_certificate(fleet: Fleet) -> None:
    """The native port serves no client without a certificate, and none without TLS."""
    for flags in ("--cert-file= --key-file=", "--security clear --ca-file= --cert-file= --key-file="):
        answer = fleet.peer_client.run_as_admin(f"timeout 60 frota peers status {flags} 2>&1 || echo refused")
        assert answer.splitlines()[-1] == "refused", answer


@pytest.mark.beside(system="peers")
def test_burst_on_one_server(fleet: Fleet, start: float) -> None:
    """A burst on one server is executed by the workers of both, which are all home afterwards."""
    until(lambda: are_home(fleet), "workers are not at their own servers before the burst")
    create_accounts(fleet, [_CPF])
    first, second = fleet.peer_servers[:2]
    # Changes of one account wait for each other, so that tasks arrive faster than they are executed.
    fleet.peer_client.run_as_admin(f"{lines_of_updates(_CPF, 20_000)} >/tmp/burst")
    results = _submit(fleet, f"/tmp/burst --host {first.address} --timeout 110")
    second.wait_for_record("FROTA_EVENT=workers_lent", since=start)
    assert results.splitlines() == [f"{_CPF}: 5.00"] * 20_000
    until(lambda: are_home(fleet), "a worker did not come home after the burst")


def test_backup_is_restored(fleet: Fleet) -> None:
    """A restored database is as it was at the backup, while services ran; without -e overwrite nothing is replaced."""
    name, (cpf,) = f"aceite-{secrets.token_hex(4)}", new_cpfs(1)
    with updates(fleet, [cpf], interval_s=0.2) as running:
        running.wait_for_more(50)
        fleet.play("playbooks/backup_database.yml", "-e", f"backup={name}")
        running.wait_for_more(50)
        report = running.stop()
    audit(fleet, report)
    tables = [row[0] for row in sql(fleet, "SHOW TABLES")]
    after = sql(fleet, f"SELECT saldo FROM contas c JOIN users u ON u.id = c.fk_id_user WHERE cpf = '{cpf}'")

    with pytest.raises(AssertionError, match="-e overwrite=frota_peers"):
        fleet.play("playbooks/restore_database.yml", "-e", f"backup={name}")
    assert sql(fleet, f"SELECT saldo FROM contas c JOIN users u ON u.id = c.fk_id_user WHERE cpf = '{cpf}'") == after

    fleet.play("playbooks/restore_database.yml", "-e", f"backup={name}", "-e", "overwrite=frota_peers")
    assert [row[0] for row in sql(fleet, "SHOW TABLES")] == tables
    rows = sql(
        fleet,
        "SELECT h.new_balance, c.saldo FROM balance_history h JOIN contas c ON c.id = h.account_id "
        f"JOIN users u ON u.id = c.fk_id_user WHERE u.cpf = '{cpf}' ORDER BY h.id",
    )
    # A prefix of what was applied, of one moment: the last change is the balance.
    assert 0 < len(rows) < report["sent"][cpf]
    assert rows[-1][0] == rows[-1][1]


@pytest.fixture
def initial_size(fleet: Fleet) -> Iterator[int]:
    size = len(fleet.peer_workers)
    yield size
    fleet.read_inventory()
    if len(fleet.peer_workers) != size:
        _scale(fleet, size)


def _scale(fleet: Fleet, size: int) -> None:
    fleet.play("playbooks/scale.yml", "-e", f"peer_workers={size}")
    fleet.read_inventory()
    assert len(fleet.peer_workers) == size


def test_terminated_worker_host(fleet: Fleet, initial_size: int) -> None:
    """A worker host that is added takes tasks, and one that is lost without a word loses none."""
    before, cpfs = {host.name for host in fleet.peer_workers}, new_cpfs(2)
    _scale(fleet, initial_size + 1)
    until(lambda: are_home(fleet), "the new workers are not at their servers")
    (added,) = [host for host in fleet.peer_workers if host.name not in before]
    with updates(fleet, cpfs) as running:
        running.wait_for_more(_MIN_TASKS)
        fleet.power_off(added)
        client(fleet, "ec2").terminate_instances(InstanceIds=[added.instance])
        running.wait_for_more(_MIN_TASKS)
        _scale(fleet, initial_size)
        running.wait_for_more(_MIN_TASKS)
        report = running.stop()
    audit(fleet, report)
    named = ", ".join(f"'{cpf}'" for cpf in cpfs)
    joined = "balance_history h JOIN contas c ON c.id = h.account_id JOIN users u ON u.id = c.fk_id_user"
    workers = sql(fleet, f"SELECT DISTINCT h.worker FROM {joined} WHERE u.cpf IN ({named})")
    assert added.name in {worker[0].split(":")[0] for worker in workers}
