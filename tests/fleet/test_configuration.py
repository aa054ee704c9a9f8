"""Configuration: a changed setting restarts exactly the units that use it, whatever else a run covers."""

from collections.abc import Iterator

import pytest

from .fleet import Fleet

_UNIT = ("sensor-server", "frota-sensor-server.service")
_AHEAD = ("image-producer", "frota-image-producer.service")  # its env file has a time in the future
_FILE, _FILE_AHEAD = "/etc/frota/frota-sensor-server.env", "/etc/frota/frota-image-producer.env"
_CHANGED = "sensors_max_errors=7"
_OLD, _NEW = 'SENSORS_MAX_ERRORS="10"', 'SENSORS_MAX_ERRORS="7"'
_CONFIGURE = "playbooks/configure.yml"
# One run covers the whole fleet and shows that no other host changes; further runs cover these hosts only.
_THESE_HOSTS = ("--limit", "localhost:sensor_server:image_producer", "--tags", "sensors,images")


@pytest.fixture
def _restore_setting(fleet: Fleet) -> Iterator[None]:
    yield
    if _OLD not in fleet.server.run(f"cat {_FILE}"):
        fleet.play(_CONFIGURE, *_THESE_HOSTS)


@pytest.mark.usefixtures("_restore_setting")
def test_changes_restart_their_units_once(fleet: Fleet) -> None:
    """With -e everything=true, changes restart exactly the units that they concern, once."""
    before = fleet.invocations()
    fleet.image_producer.run(f"touch --date='30 days' {_FILE_AHEAD}")  # as a clock that was ahead leaves it
    played = fleet.play(_CONFIGURE, "-e", "everything=true", "-e", _CHANGED)
    assert played.hosts_of_systems() >= set(fleet.members)
    assert played.changed_hosts() == {_UNIT[0], _AHEAD[0]}
    assert _NEW in fleet.server.run(f"cat {_FILE}")
    assert fleet.restarted_since(before) == {_UNIT, _AHEAD}

    before = fleet.invocations()
    fleet.play(_CONFIGURE, *_THESE_HOSTS)
    assert _OLD in fleet.server.run(f"cat {_FILE}")
    assert fleet.restarted_since(before) == {_UNIT}


def test_invalid_setting_changes_nothing(fleet: Fleet) -> None:
    """A setting that the code rejects changes nothing, and the error says what is valid."""
    before, written = fleet.invocations(), fleet.server.run(f"cat {_FILE}")
    with pytest.raises(AssertionError, match="SENSORS_MAX_ERRORS='-1': must be from 0 to"):
        fleet.play(_CONFIGURE, *_THESE_HOSTS, "-e", "sensors_max_errors=-1")
    assert fleet.server.run(f"cat {_FILE}") == written
    assert fleet.restarted_since(before) == set()
