"""What is a reading, and what is not."""

import pytest

from frota.sensors import messages


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
def test_whatever_a_sensor_may_print_is_a_reading(text: str) -> None:
    match = messages.LINE.fullmatch(text)
    assert match
    assert str(messages.Reading(*match.groups())) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET / HTTP/1.1",
        "Sensor1 - Temperatura: °C",
        "Sensor1 - Temperatura: 25.34",
        "Sensor1 - Temperatura: nan°C",
        "Sensor1 - Temperatura: 1e999°C",
        "Sensor1 - Temperatura: 1_0°C",
        "Sensor1 - Temperatura: ٣°C",
        "Sensor1 - Temperatura: 1.2.3°C",
        "Sensor1: 25.34°C",
        " - Temperatura: 25.34°C",
        "Sensor\x1b[2J - Temperatura: 25.34°C",
        "Sensor1 - Temperatura: 25.34°C\nPRIORITY=0",
        "Sensor\u202e1 - Temperatura: 25.34°C",
        f"{'x' * 65} - Temperatura: 25.34°C",
    ],
)
def test_nothing_else_is_a_reading(text: str) -> None:
    assert messages.LINE.fullmatch(text) is None


def test_the_longest_reading_fits_the_limit_of_a_line() -> None:
    wide = "\U00020000"  # a letter of four bytes
    sensor = " ".join([wide * 32] + [wide * 16] * 3)
    text = f"{sensor} - {wide * 64}: -{'1' * 17}.{'1' * 17}e-99{wide * 16}"
    assert messages.LINE.fullmatch(text)
    assert len(text.encode()) <= messages.LONGEST


def test_a_browser_is_told_that_this_is_no_web_server() -> None:
    assert messages.complaint("GET /index.html HTTP/1.1") == messages.HTTP
    assert messages.complaint("qualquer coisa") == messages.INVALID


def test_units_of_which_one_begins_another_are_refused_with_both_named() -> None:
    with pytest.raises(ValueError, match="'m/s' begins with unit 'm'"):
        messages.open_pattern(["m", "m/s"])
