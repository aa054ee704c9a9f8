"""A reading in parts, by the long way: takes what is harmless, and names what is wrong. No I/O.

Harmless are: a byte order mark, NUL, CR and spaces around a reading; spaces around its number; a plus sign; combining
marks in names; a unit in any spelling, or none.
"""

import re
import unicodedata

from frota.core.log import printable
from frota.sensors import units
from frota.sensors.messages import HTTP, INCOMPLETE, INVALID, KIND, LINE, MALFORMED, SENSOR, Reading

HARMLESS = " \t\r\0\ufeff\u00a0"  # around a reading

_HTTP_REQUEST = re.compile(r"[A-Z]{3,10} \S* HTTP/")
_UNTIL_NEWLINE = re.compile(r"frota |[A-Z]{3,10} [/*]|[A-Z]{3,10} https?:")  # where nothing but its newline ends a line
# Control characters, and those that nobody sees: they would make two names of what looks like one.
_UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_NUMBER = r"[+-]?(?:[0-9]{1,24}(?:\.[0-9]{1,24})?|\.[0-9]{1,24})(?:[eE][+-]?0{0,3}[0-9]{1,2})?"
_SPACES = "[ \u00a0\u2009\u202f]{0,8}"
_MEASURE = re.compile(rf"{_SPACES}({_NUMBER})(?![0-9.,]){_SPACES}(.*)")
_OPEN = re.compile(rf"([^\n:]{{1,200}}?) - ([^\n:]{{1,200}}): {_SPACES}({_NUMBER}){_SPACES}")
_DASH = re.compile(" ([\u2010-\u2015\u2212]) ")
_BASE = re.compile(r"[+-]?0+[xXbBoO][0-9a-fA-F]")

_DIGITS = r"[+-]?[0-9]*\.?[0-9]+"
# What is wrong with a measure, the first that fits; {} is its beginning.
_CAUSES = tuple(
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        (r"[+-]?(?:nan|inf|[0-9.]+#)", '"{}" não é um número finito'),
        (_BASE.pattern, 'só números decimais, não "{}"'),
        (r"[+-]?[0-9]+,[0-9]*(?![0-9.,'])", 'o separador decimal é o ponto, não a vírgula: "{}"'),
        (
            r"[+-]?[0-9.,]*[0-9][,_'\u2019\s][0-9]",
            'nada entre os algarismos além do ponto decimal: "{}"',
        ),
        (r"[\u2212\u2010-\u2015\ufe63\uff0d]", 'o sinal de menos é "-" (U+002D): "{}"'),
        (r"[+-]?[0-9.]*(?![0-9])\d", 'só os algarismos de 0 a 9: "{}"'),
        (r"[+-]?[0-9]*\.[0-9]*\.", 'mais de um ponto decimal: "{}"'),
        (r"[+-]?[0-9]*\.(?![0-9])", 'falta algarismo depois do ponto: "{}"'),
        (r"[+-]?[0-9.]*[0-9]{25}", 'algarismos demais, o máximo é 24: "{}"'),
        (rf"{_DIGITS}[ed][+-]?[0-9]+[ed.,]", 'número com mais de um expoente, ou expoente não inteiro: "{}"'),
        (rf"{_DIGITS}e[+-]?[0-9]{{3}}", 'expoente fora do alcance, o máximo é 99: "{}"'),
        (rf"{_DIGITS}[dp][+-]?[0-9]", 'o expoente vai com "e": "{}"'),
        (rf"{_DIGITS}e(?![^\W\d_])", 'expoente sem algarismos: "{}"'),
        (r"(?![+-]?\.?[0-9])", 'falta o número: "{}"'),
        (rf"{_DIGITS}.*Â", 'unidade inválida, UTF-8 codificado duas vezes: "{}"'),
        (r"", 'unidade inválida: "{}"'),
    )
)


class Malformed(ValueError):
    """Text that is no reading: says why, in the users' language."""


def parse(text: str) -> Reading:
    """Return a line in parts. Raises Malformed."""
    text = text.strip(HARMLESS)
    if match := LINE.fullmatch(text):
        return Reading(*match.groups())
    if _HTTP_REQUEST.match(text):
        raise Malformed(HTTP)
    if not text:
        raise Malformed(f"{MALFORMED}: linha vazia")
    _refuse_unseen(text)
    sensor, kind, measure = _split(text)
    _check(sensor, SENSOR, "o nome do sensor", "até 4 palavras, a primeira até 32 caracteres, as outras até 16")
    _check(kind, KIND, "a grandeza", "até 64 caracteres")
    value, unit = _measured(measure)
    return Reading(sensor, kind, value, unit)


def is_reading(text: str) -> bool:
    """Tell whether a line is a reading."""
    try:
        parse(text)
    except Malformed:
        return False
    return True


def parse_open(text: str, begin: int, known: set[str]) -> tuple[Reading, int] | None:
    """Return the reading that begins there and that a known unit ends, in whichever spelling; None if there is none."""
    match = _OPEN.match(text, begin)
    if match is None:
        return None
    sensor, kind, value = match.groups()
    if not (SENSOR.fullmatch(_without_marks(sensor)) and KIND.fullmatch(_without_marks(kind))):
        return None
    for end in range(match.end() + 1, min(match.end() + units.LONGEST, len(text)) + 1):
        unit = text[match.end() : end]
        if units.canonical(unit) in known and not _BASE.match(value + unit):
            return Reading(sensor, kind, value, unit), end
    return None


def reason_if_hopeless(text: str) -> str:
    """Return why text can become no reading any more, whatever follows it; nothing if it can."""
    if _UNTIL_NEWLINE.match(text):
        return ""
    endings: tuple[str, ...] = ("", "%", "1%", "m", "2")
    _, dash, rest = text.partition(" - ")
    if not dash:
        endings = ("x - x: 1%", " - x: 1%", "- x: 1%", " x: 1%")
    elif ": " not in rest:
        endings = ("x: 1%", ": 1%", " 1%")
    if any(is_reading(text + ending) for ending in endings):
        return ""
    try:
        parse(text)
    except Malformed as malformed:
        return str(malformed)
    return INVALID


def reason_why_open(text: str, known: set[str]) -> str:
    """Return what a text lacks that no newline has ended, and that nothing follows any more."""
    try:
        unit = parse(text).unit
    except Malformed as malformed:
        return str(malformed) if reason_if_hopeless(text) else INCOMPLETE
    units_known = ", ".join(sorted(known))
    if not unit:
        return f"{MALFORMED}: falta a unidade ({units_known}), ou uma nova linha no fim"
    meant = f'"°{unit}"? ' if f"°{unit}" in known else ""
    return f'{MALFORMED}: a unidade "{unit}" só vale com uma nova linha no fim; {meant}sem ela: {units_known}'


def _refuse_unseen(text: str) -> None:
    if match := _UNSEEN.search(text):
        raise Malformed(f"{MALFORMED}: caractere de controle ou invisível U+{ord(match[0]):04X}")


def _split(text: str) -> tuple[str, str, str]:
    sensor, dash, rest = text.partition(" - ")
    if not dash and (other := _DASH.search(text)):
        raise Malformed(f'{MALFORMED}: entre o sensor e a grandeza vai " - " (U+002D), não {_shown(other[1])}')
    if not dash:
        raise Malformed(INVALID)
    kind, colon, measure = rest.partition(": ")
    if not colon:
        raise Malformed(f'{MALFORMED}: falta ": " entre a grandeza e o número, como em "Temperatura: 25.34°C"')
    return sensor, kind, measure


def _check(name: str, pattern: re.Pattern[str], what: str, limits: str) -> None:
    plain = _without_marks(name)
    if pattern.fullmatch(plain):
        return
    for sign in plain:
        if not re.match(r"[\w ./()#+-]", sign):
            raise Malformed(f"{MALFORMED}: {what} não pode ter {_shown(sign)}")
    raise Malformed(f"{MALFORMED}: {what} tem {limits}, e começa com letra ou algarismo")


def _shown(sign: str) -> str:
    code = f"U+{ord(sign):04X}"
    return f'"{sign}" ({code})' if sign.isprintable() and not unicodedata.combining(sign) else code


def composed(name: str) -> str:
    """Return a name in the form in which names are compared: NFC (é is one character or two), single spaces."""
    return " ".join((name if name.isascii() else unicodedata.normalize("NFC", name)).split())


def _without_marks(name: str) -> str:
    """Return a name without the combining marks that belong to its letters: many scripts cannot be written without."""
    if name.isascii():
        return name
    plain = ""
    follows = False  # a letter, or a mark of one
    for sign in unicodedata.normalize("NFC", name):
        mark = unicodedata.category(sign) in {"Mn", "Mc"}
        if not (mark and follows):
            plain += sign
            follows = sign.isalnum()
    return plain if len(name) <= 4 * len(plain) else name  # or they would be stacked without end


def _measured(measure: str) -> tuple[str, str]:
    match = _MEASURE.fullmatch(measure)
    if match:
        value, unit = match.groups()
        if not unit or (units.is_unit(units.canonical(unit)) and not _BASE.match(measure)):
            return value, unit
    raise Malformed(f"{MALFORMED}: {_cause(measure)}")


def _cause(measure: str) -> str:
    return next(text.format(printable(measure[:24])) for pattern, text in _CAUSES if pattern.match(measure))
