"""A network partition: sensors spool their readings, and deliver them in order and once."""

import time
from collections.abc import Iterator

import pytest

from .faults import kill
from .fleet import Fleet
from .hosts import Host, until

_KINDS = ("temperature", "humidity")


def _partition(host: Host, server: Host) -> None:
    rules = f"""
        table inet partition {{
            chain out {{ type filter hook output priority 0; ip daddr {server.address} drop; }}
            chain in {{ type filter hook input priority 0; ip saddr {server.address} drop; }}
        }}"""
    host.run(f"nft '{rules}'")


def _heal(host: Host) -> None:
    host.run("nft destroy table inet partition")


@pytest.fixture
def _heal_afterwards(fleet: Fleet) -> Iterator[None]:
    yield
    for host in fleet.sensors:
        _heal(host)


@pytest.mark.beside(system="sensors")
@pytest.mark.usefixtures("_heal_afterwards")
def test_partition_of_sensors(fleet: Fleet, start: float) -> None:
    """After a network partition, sensors deliver their readings in order and once, although one was killed."""
    sensors = [(host, f"--unit=frota-sensor-client@{kind}.service") for host in fleet.sensors for kind in _KINDS]
    for host in fleet.sensors:
        _partition(host, fleet.server)
    for host, unit in sensors:
        record = host.wait_for_record(unit, "FROTA_EVENT=spool_waiting", since=start)
        assert int(record["COUNT"]) >= 1
        record = host.wait_for_record(unit, "--priority=err", since=start)
        assert record["MESSAGE"] == "Erro ao conectar ao servidor."

    kill(fleet.sensors[0], f"frota-sensor-client@{_KINDS[0]}.service")

    healed = time.time()
    for host in fleet.sensors:
        _heal(host)
    first_responses = {}
    for host, unit in sensors:
        host.wait_for_record(unit, "FROTA_EVENT=connected", since=healed)
        record = host.wait_for_record(unit, "FROTA_EVENT=response", since=healed)
        first_responses[record["SENSOR"]] = int(record["NUMBER"])
    assert len(first_responses) == len(sensors)

    until(lambda: _all_above(fleet.numbers(healed), first_responses), "a sensor has no reading after the partition")
    for sensor, numbers in fleet.numbers(start - 30).items():
        if sensor in first_responses:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), sensor
            assert numbers[0] <= first_responses[sensor], sensor


def _all_above(numbers: dict[str, list[int]], first_responses: dict[str, int]) -> bool:
    return all(max(numbers.get(sensor, [0])) > number for sensor, number in first_responses.items())
