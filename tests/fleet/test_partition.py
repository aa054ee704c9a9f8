"""Sensors that are cut off from the server keep their readings, and deliver them in order, once."""

import time
from collections.abc import Iterator

import pytest

from .blows import kill
from .fleet import Fleet
from .hosts import Host, until

_KINDS = ("temperature", "humidity")


def _cut_off(host: Host, server: Host) -> None:
    rules = f"""
        table inet partition {{
            chain out {{ type filter hook output priority 0; ip daddr {server.address} drop; }}
            chain in {{ type filter hook input priority 0; ip saddr {server.address} drop; }}
        }}"""
    host.run(f"nft '{rules}'")


def _heal(host: Host) -> None:
    host.run("nft destroy table inet partition")


@pytest.fixture
def _whole_afterwards(fleet: Fleet) -> Iterator[None]:
    yield
    for host in fleet.sensors:
        _heal(host)


@pytest.mark.beside(system="sensors")
@pytest.mark.usefixtures("_whole_afterwards")
def test_partition_of_sensors(fleet: Fleet, start: float) -> None:
    """After a network partition, sensors deliver their readings in order and once, although one was killed."""
    sensors = [(host, f"--unit=frota-sensor-client@{kind}.service") for host in fleet.sensors for kind in _KINDS]
    for host in fleet.sensors:
        _cut_off(host, fleet.server)
    for host, unit in sensors:
        waiting = host.wait_for_record(unit, "FROTA_EVENT=spool_waiting", since=start)
        assert int(waiting["COUNT"]) >= 1
        error = host.wait_for_record(unit, "--priority=err", since=start)
        assert error["MESSAGE"] == "Erro ao conectar ao servidor."

    kill(fleet.sensors[0], f"frota-sensor-client@{_KINDS[0]}.service")

    healed = time.time()
    for host in fleet.sensors:
        _heal(host)
    answered = {}
    for host, unit in sensors:
        host.wait_for_record(unit, "FROTA_EVENT=connected", since=healed)
        record = host.wait_for_record(unit, "FROTA_EVENT=response", since=healed)
        answered[record["SENSOR"]] = int(record["NUMBER"])
    assert len(answered) == len(sensors)

    until(lambda: _all_beyond(fleet.numbers(healed), answered), "a reading measured after the partition of each sensor")
    for sensor, numbers in fleet.numbers(start - 30).items():
        if sensor in answered:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), sensor
            assert numbers[0] <= answered[sensor], sensor


def _all_beyond(numbers: dict[str, list[int]], answered: dict[str, int]) -> bool:
    return all(max(numbers.get(sensor, [0])) > number for sensor, number in answered.items())
