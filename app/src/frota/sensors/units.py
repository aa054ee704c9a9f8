"""Units of measurement: which are valid, and which spellings are equal. No I/O.

A Portuguese keyboard has º (the ordinal sign) where ° is meant; Unicode has µ and Ω twice, and the sign ℃. Units are
compared in a canonical form: NFKC (unicode.org/reports/tr15), after replacing what NFKC would turn into other letters.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

MAX_CHARACTERS = 16  # characters of a unit

# Signs that NFKC keeps, or replaces wrongly (º becomes o).
_BEFORE = str.maketrans({"\u02da": "°", "\u22c5": "·", "\u2219": "·", "\u2027": "·"})  # ring above, dots
_AFTER = str.maketrans({"\u2212": "-", "\u2044": "/", "\u2215": "/"})  # minus, slashes
_DEGREE = re.compile("[º\u1d3c\u1d52](?=[CFcf])|(?<![a-zA-Z])[º\u1d3c\u1d52]")  # and raised letters o

# A unit in canonical form. Excluded beginnings belong to the number: 5e°C, 1E-5, 1.5D02, 12h30, 4k7.
_BEGINNING = r"(?![eE](?![^\W\d_])|[eEdDpP][+-]?[0-9]|[^\W\d_][0-9]{2}|[^\W\d_A-Z][015-9])"
_DEGREES = r"(?:(?<![^\W_])|(?<![^\W_].)(?<=[m\u03bckc]))°"  # at the beginning of a factor, but for m°C and its like
_FIRST = rf"(?:[^\W\d_]|[%‰\u2032\u2033]|{_DEGREES})"
_OTHER = rf"(?:[\w/.·^*\u2032\u2033-]|{_DEGREES}|(?<![0-9])[%‰])"
_UNIT = re.compile(rf"{_BEGINNING}{_FIRST}{_OTHER}{{0,{MAX_CHARACTERS - 1}}}(?<![/.·^*_-])")

# Other spellings that the fast path knows, too; the parser knows all of them.
_SPELLINGS = {
    "°": "[°º\u02da]",
    "\u03bc": "[\u00b5\u03bc]",  # micro
    "\u03a9": "[\u2126\u03a9]",  # ohm
    "K": "[K\u212a]",  # kelvin
    "%": "[%\uff05]",
    "2": "[2²]",
    "3": "[3³]",
}
_WHOLE_SPELLINGS = {"°C": "℃", "°F": "℉"}


@lru_cache(1000)
def canonical(unit: str) -> str:
    """Return the canonical spelling, in which units are compared: °C for ºC, ˚C and ℃, μ for µ, m3 for m³."""
    if unit.isascii():
        return unit
    return unicodedata.normalize("NFKC", _DEGREE.sub("°", unit.translate(_BEFORE))).translate(_AFTER)


def is_unit(unit: str) -> bool:
    """Tell whether a unit, in any spelling, is valid: 1 to 16 letters or signs that do not continue the number."""
    return len(unit) <= 2 * MAX_CHARACTERS and _UNIT.fullmatch(canonical(unit)) is not None


def checked(units: Iterable[str]) -> set[str]:
    """Return units in canonical form.

    Raises ValueError for an invalid unit, and for units of which one begins with another: in a legacy reading, which
    its unit ends, the shorter one would end it early.
    """
    known = {unit: canonical(unit) for unit in units}
    for unit in known:
        if not is_unit(unit):
            raise ValueError(
                f"{unit!r} is no unit: expected 1 to {MAX_CHARACTERS} letters or signs such as °C, %, hPa, m/s"
            )
    for short, long in pairwise(sorted(set(known.values()))):
        if long.startswith(short):
            raise ValueError(f"unit {long!r} begins with unit {short!r}: a reading's end would be ambiguous")
    return set(known.values())


def pattern(known: Iterable[str]) -> str:
    """Return a regular expression for the usual spellings of units in canonical form."""
    spellings = []
    for unit in sorted(known):
        spellings.append("".join(_SPELLINGS.get(sign, re.escape(sign)) for sign in unit))
        spellings += [_WHOLE_SPELLINGS[unit]] if unit in _WHOLE_SPELLINGS else []
    return "|".join(spellings)
