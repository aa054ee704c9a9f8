"""Elements that look like another text without being the same: written with other code points, or other spaces."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

_MAX_ELEMENTS, _MAX_CHARACTERS = 2000, 2**18  # that are compared, so that other clients do not wait
_MAX_SHOWN_CHARACTERS = 60  # characters of an element in the hint
_INVISIBLE = re.compile("[\x00\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufe0e\ufe0f]")


def hint(value: str, elements: Sequence[str]) -> str:
    """Return a sentence about the first element that looks like a value; nothing where there is none."""
    normalized, remaining, longest = _normalized(value), _MAX_CHARACTERS - len(value), 4 * len(value) + 16
    plain = _is_plain(value)
    for position, element in enumerate(islice(elements, _MAX_ELEMENTS)):
        if len(element) > longest or (plain and _is_plain(element)):  # two plain texts look as different as they are
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
    """Return a text as people see it: compatibility forms made one (NFKC), spaces made plain, nothing invisible."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_INVISIBLE.sub("", text).split())


def _is_plain(text: str) -> bool:
    """Tell whether a text is printable ASCII without spaces that are not seen: it looks like no other such text."""
    return text.isascii() and text.isprintable() and text == text.strip() and "  " not in text


def _escaped(text: str) -> str:
    return ascii(text[:_MAX_SHOWN_CHARACTERS]) + ("…" if len(text) > _MAX_SHOWN_CHARACTERS else "")
