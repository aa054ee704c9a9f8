"""Why a line is no reading, in Portuguese, for its sender. No I/O."""

import re
import unicodedata

from frota.sensors import names
from frota.sensors.messages import HTTP, INVALID, KIND, MALFORMED, SENSOR

NUMBER_IN_ANOTHER_BASE = re.compile(r"[+-]?0+[xXbBoO][0-9a-fA-F]")

_HTTP_REQUEST = re.compile(r"[A-Z]{3,10} \S* HTTP/")
_DASH = re.compile(" ([\u2010-\u2015\u2212]) ")
_NOT_IN_NAMES = re.compile(r"[^\w ./()#+-]")
_DIGITS = r"[+-]?[0-9]*\.?[0-9]+"
_MAX_CHECKED_CHARACTERS = 60  # of a value and its unit
# The first matching pattern tells the cause; {} is the beginning of value and unit.
_CAUSES = tuple(
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        (r"[+-]?(?:nan|inf|ovf|\u221e|[0-9.]+#)", '"{}" não é um número finito'),
        (NUMBER_IN_ANOTHER_BASE.pattern, 'só números decimais, não "{}"'),
        (r"[+-]?[0-9]+,[0-9]*(?![0-9.,'])", 'o separador decimal é o ponto, não a vírgula: "{}"'),
        (r"[+-]?[0-9.,]*[0-9][,_'\u2019\s][0-9]", 'nada entre os algarismos além do ponto decimal: "{}"'),
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


def reason(line: str) -> str:
    """Return why a line is no reading."""
    if _HTTP_REQUEST.match(line):
        return HTTP
    cause = _cause(line)
    return f"{MALFORMED}: {cause}" if cause else INVALID


def _cause(line: str) -> str:
    if not line:
        return "linha vazia"
    if unseen := names.UNSEEN.search(line):
        return f"caractere de controle ou invisível U+{ord(unseen[0]):04X}"
    sensor, dash, rest = line.partition(" - ")
    kind, colon, measure = rest.partition(": ")
    if not dash:
        other = _DASH.search(line)
        return f'entre o sensor e a grandeza vai " - " (U+002D), não {_shown(other[1])}' if other else ""
    if not colon:
        return 'falta ": " entre a grandeza e o número, como em "Temperatura: 25.34°C"'
    limits = "até 4 palavras, a primeira até 32 caracteres, as outras até 16"
    return (
        _name(sensor, SENSOR, "o nome do sensor", limits)
        or _name(kind, KIND, "a grandeza", "até 64 caracteres")
        or _measure(measure.strip()[:_MAX_CHECKED_CHARACTERS])
    )


def _name(name: str, pattern: re.Pattern[str], what: str, limits: str) -> str:
    plain = names.without_marks(name)
    if pattern.fullmatch(plain):
        return ""
    if other := _NOT_IN_NAMES.search(plain):
        return f"{what} não pode ter {_shown(other[0])}"
    return f"{what} tem {limits}, e começa com letra ou algarismo"


def _shown(sign: str) -> str:
    code = f"U+{ord(sign):04X}"
    return f'"{sign}" ({code})' if sign.isprintable() and not unicodedata.combining(sign) else code


def _measure(measure: str) -> str:
    shown = "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in measure[:24])
    return next(text.format(shown) for pattern, text in _CAUSES if pattern.match(measure))
