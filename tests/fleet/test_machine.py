"""The fleet when the machine that it runs on was restarted."""

import pytest

from .fleet import Fleet
from .hosts import call, until

pytestmark = pytest.mark.whole


def test_restart_of_the_machine(fleet: Fleet, start: float) -> None:
    """After a restart of the machine, make up starts the same fleet with all its data."""
    sensors = until(lambda: fleet.numbers(start).keys(), "a reading of a sensor")
    held = fleet.numbers(0)
    fleet.list_client.run_as_admin("frota list clear --list aceite; frota list append --list aceite antes")
    members = {host.instance: host.address for host in fleet.hosts}
    fleet.switch_off()

    up = call(["make", "up"], seconds=1800, cwd=fleet.root)

    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    fleet.read_inventory()
    assert {host.instance: host.address for host in fleet.hosts} == members
    assert fleet.list_client.run_as_admin("frota list show --list aceite") == "antes\n"
    until(lambda: all(len(fleet.numbers(0)[sensor]) > len(held[sensor]) for sensor in sensors), "further readings")
    kept = fleet.numbers(0)
    for sensor in sensors:
        assert kept[sensor][: len(held[sensor])] == held[sensor]
        assert kept[sensor] == list(range(kept[sensor][0], kept[sensor][-1] + 1)), f"{sensor}: one is lost or twice"
