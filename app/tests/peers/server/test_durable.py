"""Durable mode: whoever is killed, no accepted task is lost, and each UPDATE takes effect once."""

import json
import time
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
from sqlalchemy import Connection, select

from frota.peers.database.accounts import AccountStore
from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import Database, open_database
from frota.peers.database.schema import contas
from frota.peers.database.servers import ServerStore
from support import FULL, output, reserved_port, run_frota, server, start_frota, until
from support.mariadb import MariaDb
from support.peers import PeersServer, exchange
from support.prometheus import scrape

CPFS = [digit * 11 for digit in "123456789"]


class DurableServer(PeersServer):
    """A server with its database: an embedded one, or a MariaDB."""

    mariadb: MariaDb | None = None

    @property
    def location(self) -> tuple[object, ...]:
        """The options of a worker that uses the same database."""
        return options(self.mariadb.config()) if self.mariadb else ("--database", self.state / "peers.db")


def options(config: DatabaseConfig) -> tuple[object, ...]:
    return (
        *("--database", config.database, "--database-ca-file", config.database_ca_file),
        *("--database-password-file", config.database_password_file),
    )


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def peers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DurableServer]:
    """Run a server with an embedded database, and one with a MariaDB."""
    mariadb: MariaDb | None = request.getfixturevalue("mariadb") if request.param == "mariadb" else None
    flags = options(mariadb.config()) if mariadb else ()
    if mariadb:
        output("peers", "migrate", "--examples", *flags)
    with server(tmp_path, "--lease-s", "5", *flags, kind=DurableServer) as running:
        assert isinstance(running, DurableServer)
        running.mariadb = mariadb
        yield running


def start_worker(peers: PeersServer, name: str, *flags: object) -> Any:
    words = ("peers", "work", "--host", "127.0.0.1", "--port", peers.port, "--name", name, "--max-backoff-s", "0.2")
    return start_frota(*words, *flags, stderr=DEVNULL)


def open_its_database(peers: DurableServer) -> Database:
    return peers.mariadb.open() if peers.mariadb else open_database(DatabaseConfig(), peers.state)


def submit(peers: PeersServer, tasks: Iterable[dict[str, str]]) -> list[str]:
    """Submit tasks; return the ids of those that were accepted."""
    accepted = exchange(peers.port, {"REQUEST": "SUBMIT", "ID": 1, "TASKS": list(tasks)})["TASKS"]
    assert all(isinstance(task_id, str) for task_id in accepted)
    return list(accepted)


def updates(number: int, begin: int = 0) -> list[dict[str, str]]:
    """Return UPDATEs of all accounts, each with a balance of its own."""
    return [{"TASK": "UPDATE", "CPF": CPFS[n % 9], "SALDO": f"{n}.25"} for n in range(begin, begin + number)]


def results(peers: PeersServer, ids: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output("peers", "result", *ids, "--json", "--port", peers.port).splitlines()]


def applied(peers: DurableServer) -> list[str]:
    """Return the task of each change in the history of balances, after an audit."""
    opened = open_its_database(peers)
    try:
        accounts = AccountStore(opened)
        assert accounts.audit() == []
        return [change.task_id for cpf in CPFS for change in accounts.history(cpf, 10_000)]
    finally:
        opened.close()


def test_accepted_tasks_survive_a_kill_of_the_server(peers: DurableServer) -> None:
    """Tasks that no worker had when the server was killed are executed after its restart."""
    ids = submit(peers, [*updates(200), {"TASK": "QUERY", "USER": "Ana"}, {"TASK": "NOOP"}])
    peers.kill()
    peers.start()
    start_worker(peers, "native", *peers.location)
    start_worker(peers, "plain")
    done = results(peers, ids)
    assert [result["id"] for result in done] == ids
    assert all(result["ok"] for result in done)
    assert sorted(applied(peers)) == sorted(ids[:200])


def test_updates_take_effect_once_while_everybody_is_killed(peers: DurableServer) -> None:
    """The server, with it MariaDB, and workers are killed three times each, with tasks in all states."""
    names = (f"w{number}" for number in count())
    workers = [start_worker(peers, next(names), *flags) for flags in ((), peers.location)]
    ids: list[str] = []
    number = 300 if FULL else 60
    for turn in range(6):
        ids += submit(peers, updates(number, turn * number))
        done = turn * number
        until(lambda done=done: len(applied(peers)) > done, "no progress")  # type: ignore[misc]
        if turn % 2:
            peers.kill()
            if peers.mariadb:
                peers.mariadb.restart()
            peers.start()
        else:
            workers[turn // 2 % 2].kill()
            workers[turn // 2 % 2] = start_worker(peers, next(names), *peers.location)
    for begin in range(0, len(ids), 300):
        assert all(result["ok"] for result in results(peers, ids[begin : begin + 300]))
    assert sorted(applied(peers)) == sorted(ids)


def test_results_survive_a_restart(peers: DurableServer) -> None:
    """A result is known by its id after a stop, and a balance after a kill."""
    start_worker(peers, "w")
    task_id = output("peers", "submit", "update", "--cpf", CPFS[0], "--saldo", "7.5", "--no-wait", "--port", peers.port)
    before = results(peers, [task_id.strip()])
    assert peers.stop() == 0
    peers.start()
    assert results(peers, [task_id.strip()]) == before
    peers.kill()
    peers.start()
    history = json.loads(output("peers", "history", "--cpf", CPFS[0], "--json", "--port", peers.port))
    assert history["saldo"] == "7.50"


def test_peer_takes_over_from_a_server_that_is_gone(peers: DurableServer, tmp_path: Path) -> None:
    """A server that shares the database executes the tasks of one that has been gone for the term."""
    flags = (*peers.location, "--takeover-after-s", "1", "--name", "s2", "--metrics-port")
    folder = tmp_path / "other"
    folder.mkdir()
    ids = submit(peers, updates(30))
    with reserved_port() as metrics_port, server(folder, *flags, metrics_port, kind=PeersServer) as other:
        assert isinstance(other, PeersServer)
        peers.kill()
        start_worker(other, "w")
        other.wait_for("30 tasks of a server that is gone are waiting here now")
        assert all(result["ok"] for result in results(other, ids))
        assert scrape(metrics_port)["frota_peers_tasks_taken_over_total"] == 30


def test_second_server_on_a_state_folder_is_refused(peers: DurableServer) -> None:
    """Two processes with one name would take each other's tasks."""
    words = ("peers", "serve", "--port", "0", "--metrics-port", "0", "--state-dir", peers.state)
    done = run_frota(*words)
    assert done.returncode == 1
    assert "is in use by process" in done.stderr


def test_locked_accounts_delay_a_task(peers: DurableServer) -> None:
    """While another process locks the accounts nothing is lost: the task is done afterwards."""
    start_worker(peers, "w")
    opened = open_its_database(peers)

    def hold(connection: Connection) -> None:
        connection.execute(select(contas).with_for_update())
        client = start_frota("peers", "submit", *words, stdout=DEVNULL)
        time.sleep(0.5)
        assert client.poll() is None
        clients.append(client)

    clients: list[Any] = []
    words = ("update", "--cpf", CPFS[1], "--saldo", "3.00", "--port", peers.port)
    opened.write(hold)
    opened.close()
    assert clients[0].wait(60) == 0
    assert len(applied(peers)) == 1


def test_replaced_server_ends(peers: DurableServer) -> None:
    """A server whose tasks a peer has taken over accepts nothing more: it ends, and begins anew."""
    name = exchange(peers.port, {"REQUEST": "STATUS", "ID": 1})["STATUS"]["server"]
    opened = open_its_database(peers)
    ServerStore(opened).register(name)
    opened.close()
    assert exchange(peers.port, {"REQUEST": "SUBMIT", "ID": 2, "TASKS": updates(1)}) == {}
    assert peers.process.wait(60) == 1
    assert "was replaced since its epoch" in peers.log()
    peers.start()
    assert len(submit(peers, updates(1))) == 1
