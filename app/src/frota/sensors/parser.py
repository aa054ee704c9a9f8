"""The lenient parser of readings, for what the patterns of `messages` do not match. No I/O.

It tolerates a byte order mark, NUL, CR and spaces around a reading; spaces around its number; a plus sign; combining
marks in names; a unit in any spelling, or none.
"""

import re

from frota.core.errors import MalformedMessage
from frota.sensors import names, rejections, units
from frota.sensors.messages import INCOMPLETE, KIND, LINE, MALFORMED, SENSOR, Reading

PADDING = " \t\r\0\ufeff\u00a0"  # around a reading

_UNTIL_NEWLINE = re.compile(r"frota |[A-Z]{3,10} [/*]|[A-Z]{3,10} https?:")  # only a newline ends these
_NUMBER = r"[+-]?(?:[0-9]{1,24}(?:\.[0-9]{1,24})?|\.[0-9]{1,24})(?:[eE][+-]?0{0,3}[0-9]{1,2})?"
_SPACES = "[ \u00a0\u2009\u202f]{0,8}"
_OPEN = re.compile(rf"{_SPACES}({_NUMBER}){_SPACES}")
_MEASURE = re.compile(rf"{_OPEN.pattern}((?![0-9.,]).*)")


def parse(text: str) -> Reading:
    """Parse a line. Raises MalformedMessage."""
    text = text.strip(PADDING)
    reading = _read(text)
    if reading is None:
        raise MalformedMessage(rejections.reason(text))
    return reading


def is_reading(text: str) -> bool:
    """Tell whether a line is a reading."""
    return _read(text.strip(PADDING)) is not None


def parse_open(text: str, begin: int, known: set[str]) -> tuple[Reading, int] | None:
    """Return the reading at `begin` that a known unit ends, in any spelling, and its end; None if there is none."""
    dash = text.find(" - ", begin)
    colon = text.find(": ", dash)
    match = _OPEN.match(text, colon + 2) if dash > begin and colon > dash else None
    if match is None or not _are_names(text[begin:dash], text[dash + 3 : colon]):
        return None
    number_end, value = match.end(), match[1]
    for end in range(number_end + 1, min(number_end + units.MAX_CHARACTERS, len(text)) + 1):
        unit = text[number_end:end]
        if units.canonical(unit) in known:
            return Reading(text[begin:dash], text[dash + 3 : colon], value, unit), end
    return None


def reason_if_hopeless(text: str) -> str:
    """Return why text cannot become a reading, whatever follows it; "" if it can."""
    if _UNTIL_NEWLINE.match(text):
        return ""
    endings: tuple[str, ...] = ("", "%", "1%", "m", "2")
    _, dash, rest = text.partition(" - ")
    if not dash:
        endings = ("x - x: 1%", " - x: 1%", "- x: 1%", " x: 1%")
    elif ": " not in rest:
        endings = ("x: 1%", ": 1%", " 1%")
    return "" if any(is_reading(text + ending) for ending in endings) else rejections.reason(text.strip(PADDING))


def end_of_rejected(text: str, known: set[str]) -> int:
    """Return the end of the first known unit behind the kind, in any spelling; 0 if there is none yet."""
    colon, last_signs = text.find(": "), {unit[-1] for unit in known}
    for end in range(colon + 3, len(text) + 1) if colon >= 0 else ():
        if units.canonical(text[end - 1])[-1:] in last_signs and any(
            units.canonical(text[begin:end]) in known
            for begin in range(max(colon + 2, end - units.MAX_CHARACTERS), end)
        ):
            return end
    return 0


def reason_why_open(text: str, known: set[str]) -> str:
    """Return what an incomplete legacy reading lacks, at the end of the input."""
    reading = _read(text.strip(PADDING))
    if reading is None:
        return reason_if_hopeless(text) or INCOMPLETE
    these, unit = ", ".join(sorted(known)), reading.unit
    if not unit:
        return f"{MALFORMED}: falta a unidade ({these}), ou uma nova linha no fim"
    meant = f'"°{unit}"? ' if f"°{unit}" in known else ""
    return f'{MALFORMED}: a unidade "{unit}" só vale com uma nova linha no fim; {meant}sem ela: {these}'


def _read(text: str) -> Reading | None:
    if match := LINE.fullmatch(text):
        return Reading(*match.groups())
    sensor, _, rest = text.partition(" - ")
    kind, _, measure = rest.partition(": ")
    match = _MEASURE.fullmatch(measure)
    if match is None or not _are_names(sensor, kind) or rejections.NUMBER_IN_ANOTHER_BASE.match(measure):
        return None
    value, unit = match.groups()
    return Reading(sensor, kind, value, unit) if not unit or units.is_unit(unit) else None


def _are_names(sensor: str, kind: str) -> bool:
    return _is_name(sensor, SENSOR) and _is_name(kind, KIND)


def _is_name(name: str, pattern: re.Pattern[str]) -> bool:
    if pattern.fullmatch(name):
        return True
    return names.UNSEEN.search(name) is None and pattern.fullmatch(names.without_marks(name)) is not None
