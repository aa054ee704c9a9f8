"""Names of sensors and kinds: which characters are valid, and which spellings are equal. No I/O."""

import re
import unicodedata
from functools import lru_cache

# Control and invisible characters: names that look equal would differ.
UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_MAX_CHARACTERS = 400  # of a name, combining marks included
_MARKS = {"Mn", "Mc"}  # Unicode's categories of combining marks


@lru_cache(1000)
def composed(name: str) -> str:
    """Return the canonical form, in which names are compared: NFC (é is one character or two), single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def without_marks(name: str) -> str:
    """Return a name without the combining marks of its letters, which many scripts cannot do without."""
    if name.isascii() or len(name) > _MAX_CHARACTERS:
        return name
    plain = []
    follows = False  # whether the last character was a letter or a mark of it
    for sign in unicodedata.normalize("NFC", name):
        if not (follows and unicodedata.category(sign) in _MARKS):
            plain.append(sign)
            follows = sign.isalnum()
    return "".join(plain) if len(name) <= 4 * len(plain) else name  # not more than three marks a letter
