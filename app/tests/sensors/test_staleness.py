"""Ranges and staleness."""

import pytest

from frota.sensors.staleness import Range, SensorMonitor

TEMPERATURE = Range("Temperatura", -40, 85, "°C")


def reading(sensor: str = "S", value: str = "20", unit: str = "°C") -> tuple[str, str, str, str]:
    return sensor, "Temperatura", value, unit


def test_range_includes_its_ends() -> None:
    """A range includes both ends; a kind without a range is never out of range."""
    watch = SensorMonitor([TEMPERATURE], 0)
    values = [reading(value="-40"), reading(value="85"), reading(value="85.01"), reading(value="99", unit="°F")]
    assert watch.check(values, 0.0) == [2]


@pytest.mark.parametrize("unit", ["°C", "ºC", "\u02daC", "℃"])
@pytest.mark.parametrize("configured", ["°C", "ºC", "℃"])
def test_range_for_every_unit_spelling(unit: str, configured: str) -> None:
    """A range applies to all spellings of its unit."""
    watch = SensorMonitor([TEMPERATURE._replace(unit=configured)], 0)
    assert watch.check([reading(value="2150", unit=unit), reading(unit=unit)], 0.0) == [0]
    assert watch.check([reading(value="2150", unit=unit), reading(unit=unit)], 0.0) == [0]


@pytest.mark.parametrize("configured", ["Press\u00e3o", "Pressa\u0303o"])
def test_range_for_every_kind_spelling(configured: str) -> None:
    """A range applies to all spellings of its kind."""
    watch = SensorMonitor([Range(configured, 900, 1100, "hPa")], 0)
    kinds = ["Press\u00e3o", "Pressa\u0303o", "Press\u00e3o ", "Press\u00f5es"]
    assert watch.check([("S", kind, "5", "hPa") for kind in kinds], 0.0) == [0, 1, 2]


def test_remembered_spellings_are_bounded() -> None:
    """Made-up kinds do not fill the memory."""
    watch = SensorMonitor([TEMPERATURE], 0)
    assert watch.check([("S", f"made-up-{number}", "5", "") for number in range(5000)], 0.0) == []
    assert len(watch._limits) <= 1000
    assert watch.check([reading(value="99")], 0.0) == [0]


def test_configure_replaces_the_ranges() -> None:
    """New ranges replace the former ones."""
    watch = SensorMonitor([TEMPERATURE], 0)
    assert watch.check([reading(value="99")], 0.0) == [0]
    watch.configure([TEMPERATURE._replace(high=100)], 0)
    assert watch.check([reading(value="99")], 0.0) == []


def test_invalid_number_is_out_of_range() -> None:
    """A value that is no number is out of range and harms no other reading."""
    watch = SensorMonitor([TEMPERATURE], 0)
    assert watch.check([reading(value="5e"), reading(), reading(value="99")], 0.0) == [0, 2]


def test_stale_sensor_is_reported_once() -> None:
    """A stale sensor is reported once, and its recovery once."""
    watch = SensorMonitor([], stale_after=60)
    watch.check([reading("a"), reading("b")], now=0)
    watch.check([reading("b")], now=50)
    assert watch.sweep(61) == (["a"], [])
    assert watch.sweep(62) == ([], [])
    watch.check([reading("a")], now=63)
    assert watch.sweep(64) == ([], ["a"])


def test_made_up_names_are_bounded() -> None:
    """Made-up names neither fill the memory nor displace known sensors."""
    watch = SensorMonitor([], stale_after=60, max_sensors=2)
    watch.check([reading("real")], now=0)
    for number in range(100):
        watch.check([reading(f"made-up-{number}")], now=0)
    stale, _ = watch.sweep(100)
    assert len(stale) == 2
    assert "real" in stale


def test_zero_disables_staleness() -> None:
    """With a time of 0 no sensor is ever stale."""
    watch = SensorMonitor([], stale_after=0)
    watch.check([reading()], now=0)
    assert watch.sweep(1e9) == ([], [])


@pytest.mark.parametrize("most", [1, 10])
@pytest.mark.parametrize("names", [("Sal\u00e3o", "Sala\u0303o"), ("Sala\u0303o", "Sal\u00e3o"), ("Sala 1", "Sala  1")])
def test_last_seen_in_every_name_spelling(names: tuple[str, str], most: int) -> None:
    """All spellings of a name are one sensor."""
    watch = SensorMonitor([], stale_after=60, max_sensors=most)
    for now, name in enumerate([names[0], *[names[1]] * 200]):
        watch.check([reading(name), reading(name)], now)
        assert watch.sweep(now) == ([], [])
    watch.check([reading(names[0])], 250)
    assert watch.sweep(260) == ([], [])
    stale, _ = watch.sweep(311)
    assert len(stale) == 1
