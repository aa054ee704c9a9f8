"""site.yml describes the fleet: what is so already is left alone, and what changes concerns exactly its units."""

from collections.abc import Iterator

import pytest

from .fleet import Fleet

_UNIT = ("sensor-server", "frota-sensor-server.service")
_FILE = "/etc/frota/frota-sensor-server.env"
_CHANGED = "sensors_max_errors=7"
_OLD, _NEW = 'SENSORS_MAX_ERRORS="10"', 'SENSORS_MAX_ERRORS="7"'
_CONFIGURE = "playbooks/configure.yml"
_HERE = ("--limit", "localhost:sensor_server")  # where the setting is; that it concerns no other host is seen once


@pytest.fixture
def _set_back(fleet: Fleet) -> Iterator[None]:
    yield
    if _OLD not in fleet.server.run(f"cat {_FILE}"):
        fleet.play(_CONFIGURE, *_HERE)


def test_site_a_second_time_changes_nothing_anywhere(fleet: Fleet) -> None:
    before = fleet.invocations()
    played = fleet.play("site.yml")
    assert played.hosts == {host.name for host in fleet.hosts} | {"localhost"}
    assert played.changes() == []
    assert fleet.restarted_since(before) == set()


def test_check_shows_a_changed_setting_beforehand_and_changes_nothing(fleet: Fleet) -> None:
    before, written = fleet.invocations(), fleet.server.run(f"cat {_FILE}")
    played = fleet.play(_CONFIGURE, "--check", "--diff", "-e", _CHANGED)
    shown = [one for one in played.outcomes if _NEW in one.diff()]
    assert [one.host for one in shown] == [fleet.server.name]
    assert _OLD in shown[0].diff()
    assert {one.host for one in played.outcomes if one.changed} == {fleet.server.name}
    assert fleet.server.run(f"cat {_FILE}") == written
    assert fleet.restarted_since(before) == set()


@pytest.mark.usefixtures("_set_back")
def test_a_changed_setting_restarts_exactly_the_unit_it_concerns_and_so_does_changing_it_back(fleet: Fleet) -> None:
    before = fleet.invocations()
    fleet.play(_CONFIGURE, "-e", _CHANGED)
    assert _NEW in fleet.server.run(f"cat {_FILE}")
    assert fleet.restarted_since(before) == {_UNIT}

    before = fleet.invocations()
    fleet.play(_CONFIGURE, *_HERE)
    assert _OLD in fleet.server.run(f"cat {_FILE}")
    assert fleet.restarted_since(before) == {_UNIT}


def test_a_setting_that_the_code_refuses_changes_nothing_and_says_what_would_be_right(fleet: Fleet) -> None:
    before, written = fleet.invocations(), fleet.server.run(f"cat {_FILE}")
    with pytest.raises(AssertionError, match="SENSORS_MAX_ERRORS='-1': must be from 0 to"):
        fleet.play(_CONFIGURE, *_HERE, "-e", "sensors_max_errors=-1")
    assert fleet.server.run(f"cat {_FILE}") == written
    assert fleet.restarted_since(before) == set()


def test_settings_that_were_written_while_the_clock_was_ahead_restart_their_unit_once(fleet: Fleet) -> None:
    before = fleet.invocations()
    fleet.server.run(f"touch --date='30 days' {_FILE}")
    fleet.play(_CONFIGURE, *_HERE)
    assert fleet.restarted_since(before) == {_UNIT}

    before = fleet.invocations()
    assert fleet.play(_CONFIGURE, *_HERE).changes() == []
    assert fleet.restarted_since(before) == set()
