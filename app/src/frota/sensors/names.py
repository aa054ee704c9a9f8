"""Names of sensors and of what they measure: what they may have, and which spellings are the same. No I/O."""

import re
import unicodedata
from functools import lru_cache

# Control and invisible characters: two names that look the same would differ.
UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_LONGEST = 400  # characters of a name with all its marks
_MARKS = {"Mn", "Mc"}  # Unicode's categories of those that belong to the letter before them


@lru_cache(1000)
def composed(name: str) -> str:
    """Return a name in the form in which names are compared: NFC (é is one character or two), single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def without_marks(name: str) -> str:
    """Return a name without the combining marks that belong to its letters: many scripts cannot be written without."""
    if name.isascii() or len(name) > _LONGEST:
        return name
    plain = []
    follows = False  # a letter, or a mark of one
    for sign in unicodedata.normalize("NFC", name):
        if not (follows and unicodedata.category(sign) in _MARKS):
            plain.append(sign)
            follows = sign.isalnum()
    return "".join(plain) if len(name) <= 4 * len(plain) else name  # or they would be stacked without end
