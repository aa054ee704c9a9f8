"""A restart of the machine that the fleet runs on."""

import pytest

from .fleet import Fleet
from .hosts import call, until

pytestmark = [pytest.mark.whole, pytest.mark.restart]


def test_restart_of_the_machine(fleet: Fleet, start: float) -> None:
    """After a restart of the machine, make up starts the same fleet with all its data."""
    sensors = until(lambda: fleet.numbers(start).keys(), "no reading arrives")
    before = fleet.numbers(0)
    fleet.list_client.run_as_admin("frota list clear --list aceite; frota list append --list aceite antes")
    members = {host.instance: host.address for host in fleet.hosts}
    fleet.switch_off()

    up = call(["make", "up"], timeout_s=1800, cwd=fleet.root)

    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    fleet.read_inventory()
    assert {host.instance: host.address for host in fleet.hosts} == members
    assert fleet.list_client.run_as_admin("frota list show --list aceite") == "antes\n"
    until(lambda: all(len(fleet.numbers(0)[sensor]) > len(before[sensor]) for sensor in sensors), "no further readings")
    after = fleet.numbers(0)
    for sensor in sensors:
        assert after[sensor][: len(before[sensor])] == before[sensor]
        assert after[sensor] == list(range(after[sensor][0], after[sensor][-1] + 1)), (
            f"{sensor}: a reading is lost or duplicated"
        )
