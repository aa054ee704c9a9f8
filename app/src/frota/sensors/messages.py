"""What travels between sensors and their server: one reading a message, one answer a reading. No I/O.

    Sensor1 - Temperatura: 25.34°C        →        Dados recebidos com sucesso.

The original client ends neither with a newline; the native mode ends both with one, and has a few control lines
beside the readings (see `Command`). All text is UTF-8.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

LONGEST = 1024  # bytes of one line; no reading of the grammar below is longer
GREATEST = 10**18 - 1  # number of a numbered client's reading; there is room for it in 8 bytes, and in SQLite
ANSWER = b"Dados recebidos com sucesso."
ERROR = "Erro: "
INVALID = 'leitura inválida, esperava por exemplo "Sensor1 - Temperatura: 25.34°C"'
HTTP = "isto não é um servidor HTTP, e sim de sensores; esperava uma leitura por linha"
TOO_LONG = f"leitura longa demais, o máximo é {LONGEST} bytes"
NOT_UTF8 = "leitura não está em UTF-8"
INCOMPLETE = "leitura incompleta, o resto não chegou a tempo"
DISK_FULL = "disco cheio, leitura não gravada, tente mais tarde"
SERVER_FULL = "servidor cheio, conexões demais, tente mais tarde"
NO_NUMBERS = f"não há número acima de {GREATEST}, comece de novo com outro UUID"
TOO_MANY_ERRORS = "linhas inválidas demais, conexão encerrada"

KNOWN_UNITS = ("°C", "%")
# Possessive throughout: nothing in a reading is ambiguous, so nothing is ever tried twice.
_SENSOR = r"\w[\w./()#+-]{0,31}+(?: [\w./()#+][\w./()#+-]{0,15}+){0,3}+"
_KIND = r"\w[\w ./()#+-]{0,63}+"
_NUMBER = r"-?[0-9]{1,17}+(?:\.[0-9]{1,17}+)?+(?:e[+-]?[0-9]{1,2}+)?+"
_UNIT = r"(?:[^\W\d_]|[°%‰℃℉])[\w°%/.·^*-]{0,15}"
_READING = rf"({_SENSOR}) - ({_KIND}): ({_NUMBER})"

LINE = re.compile(rf"{_READING}({_UNIT})")
LINES = re.compile(rf"^{_READING}({_UNIT})\r?\n", re.MULTILINE)
_HTTP = re.compile(r"[A-Z]{3,10} \S* HTTP/")
_COMMAND = re.compile(r"frota (hello|skip|history|tail)(?: (.{0,200}))?")

Parts = tuple[str, str, str, str]


class Reading(NamedTuple):
    """One reading as it was sent, in parts: who measured, what, how much, in which unit."""

    sensor: str
    kind: str
    value: str
    unit: str

    def __str__(self) -> str:
        return f"{self.sensor} - {self.kind}: {self.value}{self.unit}"


class Command(NamedTuple):
    """A control line of the native mode.

    `frota hello UUID` asks for this client's last durable number and is answered `frota numbered LAST`: the
    connection's next reading is LAST + 1, and so on. `frota skip N` says that the next reading is N.
    `frota history {…}` and `frota tail {…}` are answered with JSON lines (see `readings.Query`).
    """

    name: str
    argument: str


def open_pattern(units: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of a reading that no newline ends: it is complete when a known unit is.

    Raises ValueError for units of which one begins with another, since a reading would end in the middle of its unit.
    """
    known = sorted(set(units))
    for short, long in pairwise(known):
        if long.startswith(short):
            raise ValueError(f"unit {long!r} begins with unit {short!r}: a reading's end would be ambiguous")
    for unit in known:
        if not re.fullmatch(_UNIT, unit):
            raise ValueError(f"{unit!r} is no unit: expected 1 to 16 letters or signs such as °C, %, hPa, m/s")
    return re.compile(f"{_READING}({'|'.join(map(re.escape, known))})")


def parse_command(line: str) -> Command | None:
    """Return the control line in parts, None if it is none."""
    match = _COMMAND.fullmatch(line)
    return Command(match[1], match[2] or "") if match else None


def complaint(line: str) -> str:
    """Say, in the users' language, what is wrong with a line that is neither a reading nor a control line."""
    return HTTP if _HTTP.match(line) else INVALID
