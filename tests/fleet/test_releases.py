"""Releases: upgrade and rollback of the whole fleet, of which nothing else changes."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .fleet import Fleet
from .hosts import SERVICES, Host

_CONFIGURE, _ROLLBACK = "playbooks/configure.yml", "playbooks/rollback.yml"


def _releases(fleet: Fleet) -> set[str]:
    """Return the releases that processes of units were started from; normally it is one."""
    return {
        re.findall(r"/opt/frota/releases/([^/]+)/", host.run(f"cat /proc/{state['MainPID']}/cmdline"))[0]
        for host in fleet.members.values()
        for state in host.show("MainPID", units=SERVICES).values()
    }


class Upgrade(NamedTuple):
    """An upgrade of the whole fleet, and what it restarted."""

    application: Path
    former: set[str]
    units: set[tuple[str, str]]
    restarted: set[tuple[str, str]]


@pytest.fixture(scope="module")
def restrictive(fleet: Fleet) -> Iterator[list[Host]]:
    """Set umask 077 for logins on a server and on a client's host; give both."""
    hosts = [fleet.server, fleet.list_client]
    for host in hosts:
        host.run("echo 'UMASK 077' >>/etc/login.defs")
    yield hosts
    for host in hosts:
        host.run("sed -i '/^UMASK 077$/d' /etc/login.defs")


@pytest.fixture(scope="module")
def upgrade(fleet: Fleet, restrictive: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    """Upgrade to an application that differs from the checkout's in a comment; return to its own afterwards."""
    application = tmp_path_factory.mktemp("release") / "app"
    shutil.copytree(fleet.root / "app", application, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    with (application / "src/frota/__init__.py").open("a", encoding="utf-8") as source:
        source.write(f"\n# Made at {time.time_ns()}, for a release of its own.\n")
    for host in restrictive:
        host.run("rm /opt/frota/libraries/*/ready")  # so that they are installed again
    former, before = _releases(fleet), fleet.invocations()
    fleet.play(_CONFIGURE, "-e", f"fleet_application={application}")
    yield Upgrade(application, former, set(before), fleet.restarted_since(before))
    if _releases(fleet) != former:  # a test failed
        fleet.play(_CONFIGURE)


def test_upgrade(fleet: Fleet, upgrade: Upgrade) -> None:
    """An upgrade restarts every service of frota and keeps the libraries."""
    own, new = upgrade.former, _releases(fleet)
    assert len(own) == len(new) == 1
    assert own != new
    services = {(host, unit) for host, unit in upgrade.units if unit.endswith(".service")}
    assert upgrade.restarted == {(host, unit) for host, unit in services if host != fleet.embedded_aws.name}
    libraries = {name: host.run("ls /opt/frota/libraries").split() for name, host in fleet.members.items()}
    shared = {release.split("-")[-2] for release in own | new}
    assert {frozenset(names) for names in libraries.values()} == {frozenset(shared)}  # the same, not sent again
    assert len(shared) == 1


@pytest.mark.usefixtures("upgrade")
def test_restrictive_umask(
    restrictive: list[Host],
) -> None:
    """A release that is installed with umask 077 is readable by services and users."""
    unreadable = "find /opt/frota/current/ /opt/frota/libraries ! -type l '(' ! -perm -o=r -o -type d ! -perm -o=x ')'"
    for host in restrictive:
        assert int(host.run("umask"), 8) == 0o077, host.name
        assert host.run(unreadable).splitlines() == [], host.name
        host.run_as_admin("frota --help")


def test_rollback_of_a_partial_upgrade(fleet: Fleet, upgrade: Upgrade, start: float) -> None:
    """A rollback after an upgrade of some hosts changes those hosts only."""
    own, units = _releases(fleet), fleet.invocations()
    # The server switches to the broken release; the client is only prepared.
    limit = ("--limit", f"localhost:sensor_server:{fleet.list_client.name}")
    with (upgrade.application / "src/frota/sensors/server/server.py").open("a", encoding="utf-8") as source:
        source.write("\n\nasync def _broken(_):\n    raise OSError('broken')\n\n\nSensorServer.start = _broken\n")
    with pytest.raises(AssertionError, match=r"frota-sensor-server on .* does not become ready"):
        fleet.play(_CONFIGURE, *limit, "-e", f"fleet_application={upgrade.application}")

    fleet.play(_ROLLBACK)

    assert _releases(fleet) == own
    assert {host for host, _ in fleet.restarted_since(units)} == {fleet.server.name}
    for sensor, numbers in fleet.numbers(start).items():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), sensor


def test_rollback(fleet: Fleet, upgrade: Upgrade, start: float) -> None:
    """A rollback returns every host to the former release, and loses no reading."""
    units = fleet.invocations()
    fleet.play(_ROLLBACK)
    assert _releases(fleet) == upgrade.former
    services = {(host, unit) for host, unit in units if unit.endswith(".service")}
    assert fleet.restarted_since(units) == {(host, unit) for host, unit in services if host != fleet.embedded_aws.name}
    for sensor, numbers in fleet.numbers(start).items():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), sensor


def test_rollback_to_an_unknown_release(fleet: Fleet) -> None:
    """A rollback to a release that is not installed names the installed ones and changes nothing."""
    own, units = _releases(fleet), fleet.invocations()
    with pytest.raises(AssertionError, match=f"There is no release none on this host.*{own.copy().pop()}"):
        fleet.play(_ROLLBACK, "-e", "rollback_release=none")
    assert fleet.restarted_since(units) == set()
