"""The system's own settings: documented, and with defaults that pass their own checks."""

import dataclasses

import pytest

from frota.core import settings as core
from frota.core.settings import SettingsError
from frota.sensors import settings
from frota.sensors.settings import ClientSettings, ServerSettings
from frota.sensors.watch import Range


@pytest.mark.parametrize("cls", [ServerSettings, ClientSettings])
def test_every_setting_says_what_it_means_and_every_number_has_a_range(cls: type) -> None:
    for field in dataclasses.fields(cls):
        assert field.metadata["text"]
        if field.type in (int, float):
            assert field.metadata["low"] <= field.default <= field.metadata["high"], field.name


def test_ranges_are_read_from_one_line() -> None:
    environ = {"SENSORS_RANGES": "Temperatura:-40:85:°C, Vento:0:120.5:m/s"}
    found = core.read(ServerSettings, settings.PREFIX, environ).ranges
    assert found == (Range("Temperatura", -40, 85, "°C"), Range("Vento", 0, 120.5, "m/s"))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("SENSORS_RANGES", "Temperatura:85:-40:°C", "LOW must not be above HIGH"),
        ("SENSORS_RANGES", "Temperatura", "must be KIND:LOW:HIGH:UNIT"),
        ("SENSORS_RANGES", "Temperatura:nan:85:°C", "LOW must not be above HIGH"),
        ("SENSORS_RANGES", "Umidade:0:100:%RH", "begins with unit"),
        ("SENSORS_UNITS", "m,m/s", "begins with unit"),
        ("SENSORS_UNITS", "5", "is no unit"),
    ],
)
def test_ranges_and_units_that_make_no_sense_are_refused(key: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        core.read(ServerSettings, settings.PREFIX, {key: value})
