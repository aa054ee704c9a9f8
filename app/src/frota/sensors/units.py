"""Units: what may be one, and which spellings are the same one. No I/O.

A Portuguese keyboard has º (an ordinal's sign) where ° is meant; Unicode has µ and Ω twice, and a sign ℃. Units are
compared in their canonical form: NFKC (unicode.org/reports/tr15), after what NFKC would take for another letter.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

LONGEST = 16  # characters of a unit

# Signs for which NFKC has no answer, or a wrong one (º becomes o).
_BEFORE = str.maketrans({"\u02da": "°", "\u22c5": "·", "\u2219": "·", "\u2027": "·"})  # ring above, dots
_AFTER = str.maketrans({"\u2212": "-", "\u2044": "/", "\u2215": "/"})  # minus, slashes
_DEGREE = re.compile("[º\u1d3c\u1d52](?=[CFcf])|(?<![a-zA-Z])[º\u1d3c\u1d52]")  # and raised letters o

# A unit in canonical form. What is excluded at its beginning is rather a number's rest: 5e°C, 1E-5, 1.5D02, 12h30, 4k7.
_BEGINNING = r"(?![eE](?![^\W\d_])|[eEdDpP][+-]?[0-9]|[^\W\d_][0-9]{2}|[^\W\d_A-Z][015-9])"
_DEGREES = r"(?:(?<![^\W_])|(?<![^\W_].)(?<=[m\u03bckc]))°"  # at the beginning of a factor, but for m°C and its like
_FIRST = rf"(?:[^\W\d_]|[%‰\u2032\u2033]|{_DEGREES})"
_OTHER = rf"(?:[\w/.·^*\u2032\u2033-]|{_DEGREES}|(?<![0-9])[%‰])"
_UNIT = re.compile(rf"{_BEGINNING}{_FIRST}{_OTHER}{{0,{LONGEST - 1}}}(?<![/.·^*_-])")

# Other spellings that the shortest way through the server knows too; the long way knows all of them.
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
    """Return the one spelling in which units are compared: °C for ºC, ˚C and ℃, μ for µ, m3 for m³."""
    if unit.isascii():
        return unit
    return unicodedata.normalize("NFKC", _DEGREE.sub("°", unit.translate(_BEFORE))).translate(_AFTER)


def is_unit(unit: str) -> bool:
    """Tell whether a unit, in any spelling, may stand behind a number: 1 to 16 letters or signs, no number's rest."""
    return len(unit) <= 2 * LONGEST and _UNIT.fullmatch(canonical(unit)) is not None


def checked(units: Iterable[str]) -> set[str]:
    """Return units in canonical form.

    Raises ValueError for what is no unit, and for units of which one begins with another: where no newline ends a
    reading, its unit does, and it would end in the middle.
    """
    known = {unit: canonical(unit) for unit in units}
    for unit in known:
        if not is_unit(unit):
            raise ValueError(f"{unit!r} is no unit: expected 1 to {LONGEST} letters or signs such as °C, %, hPa, m/s")
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
