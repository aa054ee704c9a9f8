"""Valid and invalid readings in a table, and a check of it that any Python can run.

It needs only the standard library and the package's modules without I/O, so that it runs on any installed Python.
"""

import sys

from frota.core.errors import MalformedMessage
from frota.sensors import messages, parser, units

KNOWN = {"°C", "%"}

# measure: its number, its canonical unit
VALID = {
    "25.34°C": (25.34, "°C"),
    "-3.0°C": (-3.0, "°C"),
    "-0°C": (-0.0, "°C"),
    "1e-05m/s": (1e-05, "m/s"),
    "1.0E-5°C": (1e-05, "°C"),
    "1E5°C": (1e5, "°C"),
    "1e+5°C": (1e5, "°C"),
    "1.0e-005°C": (1e-05, "°C"),
    "1e99m": (1e99, "m"),
    "1e5": (1e5, ""),
    "7.2": (7.2, ""),
    "-0.0": (-0.0, ""),
    "+5°C": (5.0, "°C"),
    ".5°C": (0.5, "°C"),
    "-.5°C": (-0.5, "°C"),
    " 21.5 °C": (21.5, "°C"),
    "21.5\u00a0°C": (21.5, "°C"),
    "21.5\u202f°C": (21.5, "°C"),
    "0.00012345678901234567°C": (0.00012345678901234567, "°C"),
    "100000000000000000000000m": (1e23, "m"),
    "21.5ºC": (21.5, "°C"),
    "21.5\u02daC": (21.5, "°C"),
    "21.5℃": (21.5, "°C"),
    "21.5\u1d3cC": (21.5, "°C"),
    "0003092.68kWh": (3092.68, "kWh"),
    "21.5℉": (21.5, "°F"),
    "300\u212a": (300.0, "K"),
    "99\uff05": (99.0, "%"),
    "5‰": (5.0, "‰"),
    "3\u00b5g/m³": (3.0, "\u03bcg/m3"),
    "3\u03bcg/m3": (3.0, "\u03bcg/m3"),
    "47k\u2126": (47.0, "k\u03a9"),
    "47k\u03a9": (47.0, "k\u03a9"),
    "5s⁻¹": (5.0, "s-1"),
    "0.1J/ºC": (0.1, "J/°C"),
    "5m°C": (5.0, "m°C"),
    "21.5C": (21.5, "C"),
    "21.5 graus": (21.5, "graus"),
    "50%RH": (50.0, "%RH"),
    "9vol%": (9.0, "vol%"),
    "5eV": (5.0, "eV"),
    "5erg": (5.0, "erg"),
    "0bar": (0.0, "bar"),
    "0xg": (0.0, "xg"),
    "7mmH2O": (7.0, "mmH2O"),
    "7kgCO2eq": (7.0, "kgCO2eq"),
    "7W/m2": (7.0, "W/m2"),
    "7cfu/100mL": (7.0, "cfu/100mL"),
}

# measure: part of the error message
INVALID = {
    "5e°C": "expoente sem algarismos",
    "-1.5e°C": "expoente sem algarismos",
    "5e": "expoente sem algarismos",
    "5E-": "expoente sem algarismos",
    "1.5e+°C": "expoente sem algarismos",
    "1e 5m": "expoente sem algarismos",
    "21.°C": "algarismo depois do ponto",
    "21.": "algarismo depois do ponto",
    "0x1A°C": 'não "0x1A°C"',
    "-0XFFm": "só números decimais",
    "0b101°C": "só números decimais",
    "0o17%": "só números decimais",
    "0x1p3m": "só números decimais",
    "1e5e5°C": "mais de um expoente",
    "1E5E5m": "mais de um expoente",
    "2e3.5m": "expoente não inteiro",
    "1e400°C": "fora do alcance",
    "1e999°C": "fora do alcance",
    "1e-400m": "fora do alcance",
    "1e100m": "fora do alcance",
    "1.5D02°C": 'o expoente vai com "e"',
    "1.5d-3m": 'o expoente vai com "e"',
    "21,5°C": "não a vírgula",
    "1_000°C": "entre os algarismos",
    "1'000°C": "entre os algarismos",
    "1 000°C": "entre os algarismos",
    "1\u202f000°C": "entre os algarismos",
    "1,000.5°C": "entre os algarismos",
    "1.234,5°C": "entre os algarismos",
    "1.2.3°C": "mais de um ponto decimal",
    "١٢°C": "algarismos de 0 a 9",
    "\uff11\uff12°C": "algarismos de 0 a 9",
    "1٢°C": "algarismos de 0 a 9",
    "\u22125°C": "sinal de menos",
    "NaN°C": "não é um número finito",
    "nan": "não é um número finito",
    "-inf°C": "não é um número finito",
    "Infinity%": "não é um número finito",
    "1.#QNAN°C": "não é um número finito",
    "-1.#IND": "não é um número finito",
    "ovf°C": "não é um número finito",
    "-\u221e°C": "não é um número finito",
    "48.625" + "0" * 90 + "°C": "algarismos demais",
    "0003092.68'": "unidade inválida",
    "'21.5'": "falta o número",
    "21.5&deg;C": "unidade inválida",
    "None°C": "falta o número",
    "--5°C": "falta o número",
    "°C": "falta o número",
    "abc": "falta o número",
    "1" * 25 + "m": "algarismos demais",
    "25.34Â°C": "duas vezes",
    "12h30": "unidade inválida",
    "4k7": "unidade inválida",
    "5x10^3m": "unidade inválida",
    "21.5°C.": "unidade inválida",
    "21.5f°C": "unidade inválida",
    "21.5°C°C": "unidade inválida",
    "5x1A°C": "unidade inválida",
    "5" + "m" * 17: "unidade inválida",
}

# line: sensor, kind, number, unit
VALID_LINES = {
    "Sensor1 - Temperatura: 25.34°C": ("Sensor1", "Temperatura", 25.34, "°C"),
    "\ufeffSensor1 - Temperatura: 25.34°C": ("Sensor1", "Temperatura", 25.34, "°C"),
    "Sensor1 - Temperatura: 25.34°C\0": ("Sensor1", "Temperatura", 25.34, "°C"),
    "\0\0Sensor1 - Temperatura: 25.34°C \r": ("Sensor1", "Temperatura", 25.34, "°C"),
    "Sala de estar 2 - Umidade do ar: 50.4%": ("Sala de estar 2", "Umidade do ar", 50.4, "%"),
    "frota tail - U: 5%": ("frota tail", "U", 5.0, "%"),
    "S - A - B: 5%": ("S", "A - B", 5.0, "%"),
    "P\u00e1tio - Press\u00e3o: 1013hPa": ("P\u00e1tio", "Press\u00e3o", 1013.0, "hPa"),
    "Pa\u0301tio - Pressa\u0303o: 1013hPa": ("Pa\u0301tio", "Pressa\u0303o", 1013.0, "hPa"),
    "सेंसर1 - तापमान: 5°C": ("सेंसर1", "तापमान", 5.0, "°C"),
    "เซ็นเซอร์ - อุณหภูมิ: 5°C": ("เซ็นเซอร์", "อุณหภูมิ", 5.0, "°C"),
}

# line: part of the error message
INVALID_LINES = {
    "": "linha vazia",
    " \0\r": "linha vazia",
    "nada": "esperava por exemplo",
    "GET / HTTP/1.1": "isto não é um servidor HTTP",
    "Sensor1: 25.34°C": "esperava por exemplo",
    " - Temperatura: 25.34°C": "esperava por exemplo",
    "Sensor1 \u2013 Temperatura: 5°C": '" - " (U+002D)',
    "Sensor1 - Temperatura 25.34°C": 'falta ": "',
    "Sensor1 - Temperatura:25.34°C": 'falta ": "',
    "S=1 - U: 5%": 'não pode ter "=" (U+003D)',
    "S - {U}: 5%": 'a grandeza não pode ter "{"',
    "S\x1b[2J - U: 5%": "U+001B",
    "S\0S - U: 5%": "U+0000",
    "S - U: 5%\nPRIORITY=0": "U+000A",
    "S\u202e1 - U: 5%": "U+202E",
    "S\u200d - U: 5%": "U+200D",
    "S1\ufe0f - U: 5%": "U+FE0F",
    "\u0301S - U: 5%": "U+0301",
    "S - U: 5\ufeff%": "U+FEFF",
    "Z" + "\u0301" * 50 + " - U: 5%": "U+0301",
    "a b c d e - U: 5%": "até 4 palavras",
    "x" * 33 + " - U: 5%": "até 32 caracteres",
    "S - " + "x" * 65 + ": 5%": "até 64 caracteres",
}


def failures() -> list[str]:
    """Return the differences between this Python's results and the tables."""
    failed = []
    for measure, (value, unit) in VALID.items():
        failed += _differences(f"S - K: {measure}", ("S", "K", value, unit))
    for line, expected in VALID_LINES.items():
        failed += _differences(line, expected)
    invalid = {f"S - K: {measure}": part for measure, part in INVALID.items()} | INVALID_LINES
    for line, part in invalid.items():
        error = reason(line)
        failed += [] if part in error else [f"{line!r}: {error or 'accepted'}, not {part!r}"]
        failed += [f"{line!r}: accepted by LINE"] if messages.LINE.fullmatch(line) else []
        accepted = messages.LINES.findall(f"{line}\n")
        failed += [f"{line!r}: accepted by LINES: {accepted}"] if accepted and "\n" not in line else []
    return failed


def _differences(line: str, expected: tuple[str, str, float, str]) -> list[str]:
    try:
        sensor, kind, value, unit = parser.parse(line)
    except MalformedMessage as malformed:
        return [f"{line!r}: {malformed}"]
    read = sensor, kind, float(value), units.canonical(unit)
    fast = [(*parts[:2], float(parts[2]), units.canonical(parts[3])) for parts in messages.LINES.findall(f"{line}\n")]
    return [f"{line!r}: {reading}" for reading in [read, *fast] if repr(reading) != repr(expected)]


def reason(line: str) -> str:
    """Return why a line is invalid, nothing if it is valid."""
    try:
        parser.parse(line)
    except MalformedMessage as malformed:
        return str(malformed)
    return ""


if __name__ == "__main__":
    sys.exit("\n".join(failures()) or 0)
