"""The patterns of readings; test_grammar.py covers the grammar."""

import pytest

from frota.sensors import messages, parser


@pytest.mark.parametrize(
    "text",
    [
        "Sensor1 - Temperatura: 25.34°C",
        "Sensor2 - Umidade: 57.96%",
        "Sensor1 - Temperatura: -3.0°C",
        "Sala de estar 2 - Umidade do ar: 50.4%",
        "Pátio-norte - Pressão: 1013hPa",
        "S - Vento: 1e-05m/s",
    ],
)
def test_legacy_output_is_a_reading(text: str) -> None:
    """Whatever the legacy sensors print is a reading."""
    match = messages.LINE.fullmatch(text)
    assert match
    assert str(messages.Reading(*match.groups())) == text


def test_longest_reading_fits_a_line() -> None:
    """The longest reading of the grammar fits MAX_LINE_BYTES."""
    wide = "\U00020000"  # a letter of four bytes
    sensor = " ".join([wide * 32] + [wide * 16] * 3)
    text = f"{sensor} - {wide * 64}: -{'1' * 24}.{'1' * 24}e-99{wide * 8}/{wide * 7}"
    assert parser.is_reading(text)
    assert len(text.encode()) <= messages.MAX_LINE_BYTES


def test_ambiguous_units_are_rejected() -> None:
    """Units of which one begins another are rejected, and both are named."""
    with pytest.raises(ValueError, match="'m/s' begins with unit 'm'"):
        messages.open_pattern(["m", "m/s"])


@pytest.mark.parametrize("unit", ["5", "", "e", "°C.", "k5", "m" * 17])
def test_invalid_unit_is_rejected(unit: str) -> None:
    """What is no unit is rejected."""
    with pytest.raises(ValueError, match="is no unit: expected 1 to 16 letters"):
        messages.open_pattern([unit])


def test_unit_spellings_are_one_unit() -> None:
    """Spellings of a unit are one unit."""
    pattern = messages.open_pattern(["°C", "ºC", "℃", "\u00b5S", "\u03bcS"])
    for spelling in ("°C", "ºC", "\u02daC", "℃", "\u00b5S", "\u03bcS"):
        assert pattern.fullmatch(f"S - K: 5{spelling}")
