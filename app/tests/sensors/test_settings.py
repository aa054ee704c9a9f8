"""The settings of the sensors: documented, and with valid defaults."""

import dataclasses

import pytest

from frota.core import settings as core
from frota.core.settings import SettingsError
from frota.sensors import settings, units
from frota.sensors.settings import ClientSettings, ServerSettings
from frota.sensors.staleness import Range


@pytest.mark.parametrize("cls", [ServerSettings, ClientSettings])
def test_every_setting_is_documented(cls: type) -> None:
    """Every setting has a text, and every number a range."""
    for field in dataclasses.fields(cls):
        assert field.metadata["text"]
        if field.type in (int, float):
            assert field.metadata["low"] <= field.default <= field.metadata["high"], field.name


def test_ranges_are_parsed() -> None:
    """Ranges are parsed from one line."""
    environ = {"SENSORS_RANGES": "Temperatura:-40:85:°C, Vento:0:120.5:m/s"}
    ranges = core.read(ServerSettings, settings.PREFIX, environ).ranges
    assert ranges == (Range("Temperatura", -40, 85, "°C"), Range("Vento", 0, 120.5, "m/s"))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("SENSORS_RANGES", "Temperatura:85:-40:°C", "LOW must not be above HIGH"),
        ("SENSORS_RANGES", "Temperatura", "must be KIND:LOW:HIGH:UNIT"),
        ("SENSORS_RANGES", "Temperatura:nan:85:°C", "LOW must not be above HIGH"),
        ("SENSORS_RANGES", "Umidade:0:100:%RH", "begins with unit"),
        ("SENSORS_UNITS", "m,m/s", "begins with unit"),
        ("SENSORS_UNITS", "5", "is no unit"),
        ("SENSORS_UNITS", "\u00b5,\u03bcS", "begins with unit"),
        ("SENSORS_RANGES", "Temperatura:-40:85:°C,Temperatura:0:50:ºC", "of the same kind and unit: leave one out"),
    ],
)
def test_invalid_ranges_and_units_are_rejected(key: str, value: str, reason: str) -> None:
    """Invalid ranges and units are rejected with the reason."""
    with pytest.raises(SettingsError, match=reason):
        core.read(ServerSettings, settings.PREFIX, {key: value})


@pytest.mark.parametrize("unit", ["ºC", "\u02daC", "℃"])
def test_unit_spellings_are_no_conflict(unit: str) -> None:
    """Another spelling of a known unit is no further unit."""
    environ = {"SENSORS_RANGES": f"Temperatura:-40:85:{unit}", "SENSORS_UNITS": f"{unit},°C"}
    parsed = core.read(ServerSettings, settings.PREFIX, environ)
    assert units.checked(parsed.known_units) == {"°C", "%"}


def test_names_in_any_script() -> None:
    """A sensor's name may be in any script; its unit may not continue the number."""
    environ = {"SENSORS_SENSOR": "सेंसर", "SENSORS_LABEL": "Pressa\u0303o", "SENSORS_UNIT": "hPa"}
    assert core.read(ClientSettings, settings.PREFIX, environ).label == "Pressa\u0303o"
    for unit, reason in (("E5°C", " of these"), ("k5", r" \(leitura inválida: unidade inválida")):
        with pytest.raises(SettingsError, match=rf"would not be a valid reading{reason}.*SENSORS_UNIT"):
            core.read(ClientSettings, settings.PREFIX, {**environ, "SENSORS_UNIT": unit})
