"""What travels between sensors and their server: one reading a message, one answer a reading. No I/O.

    Sensor1 - Temperatura: 25.34°C        →        Dados recebidos com sucesso.

The original client ends neither with a newline; the native mode ends both with one, and has a few control lines
beside the readings (see `Command`). All text is UTF-8.

The patterns here are the short way: what they match is a reading. What they do not match may be one still, and
`parser` says whether it is.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from frota.sensors import units

MAX_LINE_BYTES = 1024  # bytes of one line; no reading of the grammar below is longer
MAX_NUMBER = 10**18 - 1  # number of a numbered client's reading; there is room for it in 8 bytes, and in SQLite
ANSWER = b"Dados recebidos com sucesso."
ERROR = "Erro: "
MALFORMED = "leitura inválida"  # begins every answer to a line that will never be a reading, however often it is sent
INVALID = f'{MALFORMED}, esperava por exemplo "Sensor1 - Temperatura: 25.34°C"'
HTTP = "isto não é um servidor HTTP, e sim de sensores; esperava uma leitura por linha"
TOO_LONG = f"leitura longa demais, o máximo é {MAX_LINE_BYTES} bytes"
NOT_UTF8 = "leitura não está em UTF-8"
INCOMPLETE = "leitura incompleta, o resto não chegou a tempo"
INTERNAL = "erro interno do servidor, conexão encerrada"
DISK_FULL = "disco cheio, leitura não gravada, tente mais tarde"
SERVER_FULL = "servidor cheio, conexões demais, tente mais tarde"
NO_NUMBERS = f"não há número acima de {MAX_NUMBER}, comece de novo com outro UUID"
END = "frota end"  # of what a viewer is shown; a reason may follow
ILLEGIBLE = " {} leituras gravadas não podem ser lidas e foram omitidas; veja o log do servidor"
TOO_MANY_ERRORS = "linhas inválidas demais, conexão encerrada"

KNOWN_UNITS = ("°C", "%")
# No group is possessive (?+, *+, ++, {}+) or atomic: before 3.11.5, Python matched 5e with (?:e[0-9])?+ (gh-106052).
# Nothing is tried twice all the same, for no part can end in two places.
_WORD = r" [\w./()#+][\w./()#+-]{0,15}"
_SENSOR = rf"\w[\w./()#+-]{{0,31}}(?:{_WORD}(?:{_WORD}(?:{_WORD}|)|)|)"
_KIND = r"\w[\w ./()#+-]{0,63}"
_NUMBER = r"-?[0-9]{1,24}(?:\.[0-9]{1,24}|)(?:[eE][+-]?[0-9]{1,2}|)"
# The most frequent ones; others are left to `units`, above all those that may be the rest of a number (e5, x1A, k5).
_UNIT = r"[°%‰℃℉ºA-DF-WYZa-df-wyzµ][A-Za-z]{0,7}(?:/[A-Za-z][A-Za-z0-9]{0,7}|)(?:[²³]|)"
_READING = rf"({_SENSOR}) - ({_KIND}): ({_NUMBER})"

SENSOR, KIND = re.compile(_SENSOR), re.compile(_KIND)
LINE = re.compile(rf"{_READING}({_UNIT})")
LINES = re.compile(rf"^{_READING}({_UNIT}|)\r?\n", re.MULTILINE)
_COMMAND = re.compile(r"frota (hello|skip|history|tail)(?: (.{0,200}))?")

Parts = tuple[str, str, str, str]


class Reading(NamedTuple):
    """One reading as it was sent, in parts: who measured, what, how much, in which unit (if any)."""

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


def open_pattern(known: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of a reading that no newline ends: it is complete when a known unit is.

    Raises ValueError for what is no unit, and for units of which one begins with another (see `units.checked`).
    """
    return re.compile(f"{_READING}({units.pattern(units.checked(known))})")


def parse_command(line: str) -> Command | None:
    """Return the control line in parts, None if it is none."""
    match = _COMMAND.fullmatch(line)
    return Command(match[1], match[2] or "") if match else None
