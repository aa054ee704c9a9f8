"""Failures of servers, workers and database of the peers under load: no task is lost, none is executed twice."""

import time
from collections.abc import Callable, Iterator

import pytest

from .faults import kill, reboot
from .fleet import Fleet
from .hosts import Host, until
from .peers import DATABASE, SERVER, are_home, audit, new_accounts, status, updates, write_burst

pytestmark = pytest.mark.beside(system="peers")
_MIN_TASKS = 300


def _kill_workers(host: Host) -> None:
    for unit in sorted(host.show(units="'frota-peer-worker@*.service'")):
        kill(host, unit)


def test_kills_and_a_reboot(fleet: Fleet) -> None:
    """After kills of servers, workers and database, and a reboot, every accepted UPDATE takes effect once."""
    first, second = fleet.peer_servers[:2]
    faults: list[Callable[[], None]] = [
        lambda: kill(first, SERVER),
        lambda: _kill_workers(fleet.peer_workers[0]),
        lambda: kill(fleet.database, DATABASE),
        lambda: kill(second, SERVER),
        lambda: reboot(second, ""),
        lambda: _kill_workers(fleet.peer_workers[0]),
    ]
    with updates(fleet, new_accounts(3)) as running:
        running.wait_for_more(_MIN_TASKS)
        for fault in faults:
            fault()
            running.wait_for_more(_MIN_TASKS)
        report = running.stop()
    audit(fleet, report)
    until(lambda: are_home(fleet), "a worker is not at its own server again")


def _partition(host: Host, other: Host) -> None:
    rules = f"""
        table inet partition {{
            chain out {{ type filter hook output priority 0; ip daddr {other.address} drop; }}
            chain in {{ type filter hook input priority 0; ip saddr {other.address} drop; }}
        }}"""
    host.run(f"nft '{rules}'")


@pytest.fixture
def _heal_afterwards(fleet: Fleet) -> Iterator[None]:
    yield
    for host in fleet.peer_servers:
        host.run("nft destroy table inet partition")


@pytest.mark.usefixtures("_heal_afterwards")
def test_partition_between_the_servers(fleet: Fleet) -> None:
    """Servers that cannot reach each other go on; a lent worker comes home when its loan is over."""
    until(lambda: are_home(fleet), "workers are not at their own servers before the partition")
    first, second = fleet.peer_servers[:2]
    burst_file = write_burst(fleet, 90_000)
    with updates(fleet, new_accounts(3)) as running:
        running.wait_for_more(_MIN_TASKS)
        began = time.time()
        flags = f"--host {first.address} --no-wait"
        with fleet.peer_client.start(f"frota peers submit {burst_file} {flags} >/dev/null; cat") as burst:
            second.wait_for_record("FROTA_EVENT=workers_lent", since=began)
            _partition(first, second)
            burst.communicate()
        for server in (first, second):
            server.wait_for_record("FROTA_EVENT=peer_down", since=began)
        until(lambda: are_home(fleet), "a lent worker is not home again during the partition")
        running.wait_for_more(_MIN_TASKS)
        healed = time.time()
        first.run("nft destroy table inet partition")
        for server in (first, second):
            server.wait_for_record("FROTA_EVENT=peer_up", since=healed)
        running.wait_for_more(_MIN_TASKS)
        report = running.stop()
    audit(fleet, report)
    assert [[peer["up"] for peer in status(server)["peers"]] for server in (first, second)] == [[True], [True]]
    until(lambda: are_home(fleet), "a worker is not at its own server again")
