"""What travels between sensors and their server: one reading a message, one answer a reading. No I/O.

    Sensor1 - Temperatura: 25.34°C        →        Dados recebidos com sucesso.

The legacy protocol ends neither with a newline; the native one ends both with a newline, and has control lines beside
the readings (see `Command`). All text is UTF-8.

The patterns here are the fast path: what they match is a reading. What they do not match may be one all the same, which
`parser` decides.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from frota.sensors import units

MAX_LINE_BYTES = 1024  # no reading of the grammar below is longer
MAX_NUMBER = 10**18 - 1  # highest sequence number; fits 8 bytes, and SQLite
ANSWER = b"Dados recebidos com sucesso."
ERROR = "Erro: "
MALFORMED = "leitura inválida"  # begins the answer to a line that is rejected for good
INVALID = f'{MALFORMED}, esperava por exemplo "Sensor1 - Temperatura: 25.34°C"'
HTTP = "isto não é um servidor HTTP, e sim de sensores; esperava uma leitura por linha"
TOO_LONG = f"leitura longa demais, o máximo é {MAX_LINE_BYTES} bytes"
NOT_UTF8 = "leitura não está em UTF-8"
INCOMPLETE = "leitura incompleta, o resto não chegou a tempo"
INTERNAL = "erro interno do servidor, conexão encerrada"
DISK_FULL = "disco cheio, leitura não gravada, tente mais tarde"
SERVER_FULL = "servidor cheio, conexões demais, tente mais tarde"
NO_NUMBERS = f"não há número acima de {MAX_NUMBER}, comece de novo com outro UUID"
END = "frota end"  # of a stream; a reason may follow
ILLEGIBLE = " {} leituras gravadas não podem ser lidas e foram omitidas; veja o log do servidor"
TOO_MANY_ERRORS = "linhas inválidas demais, conexão encerrada"

KNOWN_UNITS = ("°C", "%")
# No group is possessive (?+, *+, ++, {}+) or atomic: before 3.11.5, Python matched 5e with (?:e[0-9])?+ (gh-106052).
# They would gain nothing: no part can end in two places.
_WORD = r" [\w./()#+][\w./()#+-]{0,15}"
_SENSOR = rf"\w[\w./()#+-]{{0,31}}(?:{_WORD}(?:{_WORD}(?:{_WORD}|)|)|)"
_KIND = r"\w[\w ./()#+-]{0,63}"
_NUMBER = r"-?[0-9]{1,24}(?:\.[0-9]{1,24}|)(?:[eE][+-]?[0-9]{1,2}|)"
# The most frequent units; `units` decides on the others, above all those that may continue a number (e5, x1A, k5).
_UNIT = r"[°%‰℃℉ºA-DF-WYZa-df-wyzµ][A-Za-z]{0,7}(?:/[A-Za-z][A-Za-z0-9]{0,7}|)(?:[²³]|)"
_READING = rf"({_SENSOR}) - ({_KIND}): ({_NUMBER})"

SENSOR, KIND = re.compile(_SENSOR), re.compile(_KIND)
LINE = re.compile(rf"{_READING}({_UNIT})")
LINES = re.compile(rf"^{_READING}({_UNIT}|)\r?\n", re.MULTILINE)
_COMMAND = re.compile(r"frota (hello|skip|history|tail)(?: (.{0,200}))?")

Parts = tuple[str, str, str, str]


class Reading(NamedTuple):
    """One reading as it was sent: sensor, kind, value, and unit (may be empty)."""

    sensor: str
    kind: str
    value: str
    unit: str

    def __str__(self) -> str:
        return f"{self.sensor} - {self.kind}: {self.value}{self.unit}"


class Command(NamedTuple):
    """A control line of the native protocol.

    `frota hello UUID` requests this client's last durable number and is answered `frota numbered LAST`: the
    connection's next line has number LAST + 1, and so on. `frota skip N` sets the next line's number to N.
    `frota history {…}` and `frota tail {…}` are answered with JSON lines (see `readings.Query`).
    """

    name: str
    argument: str


def open_pattern(known: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of a legacy reading, which a known unit ends.

    Raises ValueError for an invalid unit, and for units of which one begins with another (see `units.checked`).
    """
    return re.compile(f"{_READING}({units.pattern(units.checked(known))})")


def parse_command(line: str) -> Command | None:
    """Parse a control line; None if it is none."""
    match = _COMMAND.fullmatch(line)
    return Command(match[1], match[2] or "") if match else None
