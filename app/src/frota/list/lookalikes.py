"""Finds elements that look like a text but have other code points or other spaces."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

_MAX_ELEMENTS, _MAX_CHARACTERS = 2000, 2**18  # compared, so that other clients do not wait
_MAX_SHOWN_CHARACTERS = 60
_INVISIBLE = re.compile("[\x00\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufe0e\ufe0f]")


def hint(value: str, elements: Sequence[str]) -> str:
    """Return a sentence (Portuguese) about the first element that looks like a value, "" if there is none."""
    normalized, remaining, longest = _normalized(value), _MAX_CHARACTERS - len(value), 4 * len(value) + 16
    plain = _is_plain(value)
    for position, element in enumerate(islice(elements, _MAX_ELEMENTS)):
        if len(element) > longest or (plain and _is_plain(element)):  # two different plain texts look different
            continue
        remaining -= len(element)
        if remaining < 0:
            break
        if _normalized(element) == normalized:
            return (
                f"Dica: o elemento da posição {position} parece igual, mas está escrito {_escaped(element)},"
                f" e não {_escaped(value)}: copie-o da lista."
            )
    return ""


def _normalized(text: str) -> str:
    """Return a text in NFKC, without invisible characters, its spaces collapsed."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_INVISIBLE.sub("", text).split())


def _is_plain(text: str) -> bool:
    """Tell whether a text is printable ASCII without ambiguous spaces: no other such text looks like it."""
    return text.isascii() and text.isprintable() and text == text.strip() and "  " not in text


def _escaped(text: str) -> str:
    return ascii(text[:_MAX_SHOWN_CHARACTERS]) + ("…" if len(text) > _MAX_SHOWN_CHARACTERS else "")
