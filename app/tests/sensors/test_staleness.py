"""Values out of range are flagged, sensors that fall silent are noticed once."""

import pytest

from frota.sensors.staleness import Range, SensorMonitor

TEMPERATURE = Range("Temperatura", -40, 85, "°C")


def reading(sensor: str = "S", value: str = "20", unit: str = "°C") -> tuple[str, str, str, str]:
    return sensor, "Temperatura", value, unit


def test_both_ends_of_a_range_are_in_it_and_what_has_no_range_is_never_out_of_it() -> None:
    watch = SensorMonitor([TEMPERATURE], 0)
    values = [reading(value="-40"), reading(value="85"), reading(value="85.01"), reading(value="99", unit="°F")]
    assert watch.check(values, 0.0) == [2]


@pytest.mark.parametrize("unit", ["°C", "ºC", "\u02daC", "℃"])
@pytest.mark.parametrize("configured", ["°C", "ºC", "℃"])
def test_a_range_is_for_all_spellings_of_its_unit(unit: str, configured: str) -> None:
    watch = SensorMonitor([TEMPERATURE._replace(unit=configured)], 0)
    assert watch.check([reading(value="2150", unit=unit), reading(unit=unit)], 0.0) == [0]
    assert watch.check([reading(value="2150", unit=unit), reading(unit=unit)], 0.0) == [0]


@pytest.mark.parametrize("configured", ["Press\u00e3o", "Pressa\u0303o"])
def test_a_range_is_for_all_spellings_of_its_kind(configured: str) -> None:
    watch = SensorMonitor([Range(configured, 900, 1100, "hPa")], 0)
    kinds = ["Press\u00e3o", "Pressa\u0303o", "Press\u00e3o ", "Press\u00f5es"]
    assert watch.check([("S", kind, "5", "hPa") for kind in kinds], 0.0) == [0, 1, 2]


def test_a_reading_without_a_unit_may_have_no_range_and_made_up_kinds_fill_no_memory() -> None:
    watch = SensorMonitor([TEMPERATURE], 0)
    assert watch.check([("S", f"made-up-{number}", "5", "") for number in range(5000)], 0.0) == []
    assert len(watch._limits) <= 1000
    assert watch.check([reading(value="99")], 0.0) == [0]


def test_a_new_configuration_forgets_the_ranges_of_the_old_one() -> None:
    watch = SensorMonitor([TEMPERATURE], 0)
    assert watch.check([reading(value="99")], 0.0) == [0]
    watch.configure([TEMPERATURE._replace(high=100)], 0)
    assert watch.check([reading(value="99")], 0.0) == []


def test_what_is_no_number_is_out_of_range_and_ends_no_batch() -> None:
    watch = SensorMonitor([TEMPERATURE], 0)
    assert watch.check([reading(value="5e"), reading(), reading(value="99")], 0.0) == [0, 2]


def test_a_silent_sensor_is_reported_once_and_once_more_when_it_is_back() -> None:
    watch = SensorMonitor([], stale_after=60)
    watch.check([reading("a"), reading("b")], now=0)
    watch.check([reading("b")], now=50)
    assert watch.sweep(61) == (["a"], [])
    assert watch.sweep(62) == ([], [])
    watch.check([reading("a")], now=63)
    assert watch.sweep(64) == ([], ["a"])


def test_made_up_names_neither_fill_the_memory_nor_push_out_known_sensors() -> None:
    watch = SensorMonitor([], stale_after=60, most=2)
    watch.check([reading("real")], now=0)
    for number in range(100):
        watch.check([reading(f"made-up-{number}")], now=0)
    stale, _ = watch.sweep(100)
    assert len(stale) == 2
    assert "real" in stale


def test_zero_seconds_mean_that_nobody_is_ever_stale() -> None:
    watch = SensorMonitor([], stale_after=0)
    watch.check([reading()], now=0)
    assert watch.sweep(1e9) == ([], [])


@pytest.mark.parametrize("most", [1, 10])
@pytest.mark.parametrize("names", [("Sal\u00e3o", "Sala\u0303o"), ("Sala\u0303o", "Sal\u00e3o"), ("Sala 1", "Sala  1")])
def test_a_sensor_is_heard_in_every_spelling_of_its_name(names: tuple[str, str], most: int) -> None:
    watch = SensorMonitor([], stale_after=60, most=most)
    for now, name in enumerate([names[0], *[names[1]] * 200]):
        watch.check([reading(name), reading(name)], now)
        assert watch.sweep(now) == ([], [])
    watch.check([reading(names[0])], 250)
    assert watch.sweep(260) == ([], [])
    stale, _ = watch.sweep(311)
    assert len(stale) == 1
