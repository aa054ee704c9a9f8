"""CPU metrics: every host is measured, and failures of agents, hosts and server lose no acknowledged sample."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .faults import kill, reboot, restart
from .fleet import Fleet
from .hosts import Host, until
from .load import load

_SERVER, _AGENT = "frota-cpu-server.service", "frota-cpu-agent.service"
_SOCKET = "frota-cpu-server.socket"
_LEGACY_SAMPLE = "CPU -> Núcleos: [37.3, 31.5] | Média: 34.4%"


def _hosts(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """Return the server's status of every host, by name; nothing while the server is unavailable."""
    printed = fleet.cpu_server.try_to_run(f"frota cpu top --port {fleet.cpu_port} --once --json")
    return {host["host"]: host for host in map(json.loads, printed.splitlines())}


def _numbers(fleet: Fleet, host: Host) -> list[int]:
    """Return the sequence numbers of the stored samples of a host, oldest first."""
    printed = fleet.cpu_server.run(f"frota cpu history {host.name} --port {fleet.cpu_port} --seconds 1000000 --json")
    return [json.loads(line)["number"] for line in printed.splitlines()]


def _state(fleet: Fleet, name: str) -> str:
    return str(_hosts(fleet).get(name, {}).get("state"))


def _wait_for_more(fleet: Fleet) -> None:
    """Wait until there are two more samples of every host."""
    until(lambda: fleet.members.keys() <= _hosts(fleet).keys(), "not every host is listed")
    before = _hosts(fleet)

    def changed() -> bool:
        now = _hosts(fleet)
        return bool(now) and all(now[name]["samples"] >= before[name]["samples"] + 2 for name in fleet.members)

    until(changed, "no two further samples of every host")


def _missing(fleet: Fleet) -> dict[str, int]:
    """Return the number of missing samples of each host."""
    hosts = _hosts(fleet)
    return {name: hosts[name]["missing"] for name in fleet.members}


@pytest.fixture
def _no_sample_is_lost(fleet: Fleet) -> Iterator[None]:
    before = _missing(fleet)
    yield
    assert _missing(fleet) == before


@pytest.fixture
def _start_agent_afterwards(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.sensors[0].run(f"systemctl kill --signal=CONT {_AGENT} || true; systemctl start {_AGENT}")


def test_every_host_is_connected(fleet: Fleet) -> None:
    """The server lists every host as connected, from the address of the host."""
    until(
        lambda: (
            {name for name, status in _hosts(fleet).items() if status["state"] == "connected"} >= fleet.members.keys()
        ),
        "not every host is connected",
    )
    hosts = _hosts(fleet)
    assert {name: hosts[name]["peer"].rpartition(":")[0] for name in fleet.members} == {
        name: host.address for name, host in fleet.members.items()
    }


def test_sample_values(fleet: Fleet) -> None:
    """A sample has every core, the memory, the disk and the network of its host."""
    hosts = _hosts(fleet)
    for name, host in fleet.members.items():
        cores, memory = host.run("grep --count '^cpu[0-9]' /proc/stat; grep MemTotal /proc/meminfo").split()[::2]
        sample = hosts[name]["sample"]
        assert len(sample["cpu"]) == int(cores), name
        assert sample["memory"]["total"] == 1024 * int(memory), name
        assert sample.keys() >= {"load", "disk", "network", "own"}, name


def test_legacy_agent(fleet: Fleet) -> None:
    """A legacy agent has its address as its name while it is connected."""
    host = fleet.sensors[0]
    with host.connect(fleet.cpu_server.address, fleet.cpu_port) as connection:
        connection.send(_LEGACY_SAMPLE.encode())
        until(lambda: _state(fleet, host.address) == "connected", "the legacy agent is not connected")
        host_status = _hosts(fleet)[host.address]
        assert (host_status["dialect"], host_status["sample"]) == ("original", {"cpu": [37.3, 31.5], "mean": 34.4})
    until(lambda: _state(fleet, host.address) == "away", "the legacy agent is still connected")


def test_prometheus(fleet: Fleet) -> None:
    """Prometheus gets the metrics of every host on the same port."""
    with fleet.sensors[0].connect(fleet.cpu_server.address, fleet.cpu_port) as connection:
        answer = connection.exchange(b"GET /metrics HTTP/1.1\r\nHost: cpu-server\r\n\r\n").decode()
    assert answer.startswith("HTTP/1.1 200 ")
    up = set(re.findall(r'^frota_cpu_up\{host="(.+)"\} 1$', answer, re.MULTILINE))
    assert fleet.members.keys() - up == set()


def test_connections_are_logged(fleet: Fleet) -> None:
    """The journals of the server and of the agents have the connection of every host."""
    for name, host in fleet.members.items():
        [record, *_] = fleet.cpu_server.journal(f"--unit={_SERVER}", "FROTA_EVENT=host_connected", f"HOST={name}")
        assert record["FROTA_SYSTEM"] == "cpu"
        [record, *_] = host.journal(f"--unit={_AGENT}", "FROTA_EVENT=connected")
        assert record["MESSAGE"] == f"[CLIENTE] Conectado ao servidor {fleet.cpu_server.address}:{fleet.cpu_port}"


@pytest.mark.beside(system="cpu")
@pytest.mark.usefixtures("_no_sample_is_lost")
def test_server_restart(fleet: Fleet) -> None:
    """A restart of the server loses no sample and refuses no connection."""
    with load(fleet.sensors[0], "connection_load.py", fleet.cpu_server.address, str(fleet.cpu_port)) as attempts:
        for fault in (restart, kill, restart):
            attempts.wait_for_more(50)
            fault(fleet.cpu_server, _SERVER)
        attempts.wait_for_more(50)
        report = attempts.stop()
    assert report["errors"] == {}
    _wait_for_more(fleet)


@pytest.fixture
def _start_server_afterwards(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.cpu_server.run(f"systemctl start {_SOCKET} {_SERVER}")


@pytest.mark.beside(system="cpu")
@pytest.mark.usefixtures("_no_sample_is_lost", "_start_server_afterwards")
def test_spool_outlasts_agent_restart(fleet: Fleet, start: float) -> None:
    """Samples for a stopped server survive a restart of the agent."""
    host = fleet.sensors[0]
    before = _numbers(fleet, host)
    fleet.cpu_server.run(f"systemctl stop {_SOCKET} {_SERVER}")
    host.wait_for_record(f"--unit={_AGENT}", "FROTA_EVENT=connect_failed", since=start)
    restart(host, _AGENT)
    fleet.cpu_server.run(f"systemctl start {_SOCKET} {_SERVER}")
    _wait_for_more(fleet)
    now = _numbers(fleet, host)
    assert now[: len(before)] == before
    assert len(now) > len(before)


@pytest.mark.beside(system="cpu")
def test_killed_agent(fleet: Fleet) -> None:
    """A killed agent continues its sequence numbers, and what it lost is counted as missing."""
    host = fleet.sensors[0]
    missing, before = _missing(fleet)[host.name], _numbers(fleet, host)
    kill(host, _AGENT)
    _wait_for_more(fleet)
    now = _numbers(fleet, host)
    assert now == sorted(set(now))
    assert now[: len(before)] == before
    assert _missing(fleet)[host.name] - missing == (now[-1] - before[-1]) - (len(now) - len(before))


@pytest.mark.beside(system="cpu")
@pytest.mark.usefixtures("_no_sample_is_lost", "_start_agent_afterwards")
def test_stale_and_disconnected_hosts(fleet: Fleet, start: float) -> None:
    """A host with a hanging agent is stale, one with a stopped agent is disconnected, and both recover."""
    host = fleet.sensors[0]
    host.run(f"systemctl kill --signal=STOP {_AGENT}")
    until(lambda: _state(fleet, host.name) == "stale", "the host is not stale")
    record = fleet.cpu_server.wait_for_record("FROTA_EVENT=host_stale", f"HOST={host.name}", since=start)
    assert record["PRIORITY"] == "4"
    host.run(f"systemctl kill --signal=CONT {_AGENT}")
    until(lambda: _state(fleet, host.name) == "connected", "the host is not connected again")
    host.run(f"systemctl stop {_AGENT}")
    until(lambda: _state(fleet, host.name) == "away", "the host is still connected")
    host.run(f"systemctl start {_AGENT}")
    _wait_for_more(fleet)


@pytest.mark.usefixtures("_no_sample_is_lost")
@pytest.mark.parametrize("which", ["a measured host", "the server's host"])
def test_history_survives_reboots(fleet: Fleet, which: str) -> None:
    """After a reboot of a measured host or of the server, the history is complete and continues."""
    measured = fleet.sensors[1]
    before = _numbers(fleet, measured)
    reboot(measured if which == "a measured host" else fleet.cpu_server, _AGENT)
    _wait_for_more(fleet)
    now = _numbers(fleet, measured)
    assert len(before) > 1
    assert now[: len(before)] == before
    assert len(now) > len(before)
