"""What is typed, as names of keys: pure, bytes in and names out."""

import codecs

_ENDINGS = {"A": "up", "B": "down", "H": "home", "F": "end"}
_NUMBERS = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "page up", "6": "page down"}
_CONTROLS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x0c": "redraw"}
_LONGEST = 32  # characters of a sequence; whatever is longer is none


class Decoder:
    """Turns bytes into keys: a character by itself, or a name of several letters; unknown sequences are nothing."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""  # a sequence whose end is still to come

    @property
    def waits(self) -> bool:
        """Tell whether an escape has come that may be a key by itself."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are complete."""
        return [key for character in self._text.decode(data) if (key := self._next(character))]

    def flush(self) -> list[str]:
        """Return what the escape was, nothing having followed it."""
        begun, self._begun = self._begun, ""
        return ["escape"] if begun == "\x1b" else []

    def _next(self, character: str) -> str:
        if not self._begun:
            if character == "\x1b":
                self._begun = character
                return ""
            return _CONTROLS.get(character, character if character.isprintable() else "")
        if character == "\x1b":  # the one before was a key by itself, or a broken sequence
            key = "".join(self.flush())
            self._begun = character
            return key
        self._begun += character
        if self._begun in ("\x1b[", "\x1bO") or (self._begun[1] in "[O" and not "@" <= character <= "~"):
            if len(self._begun) > _LONGEST:
                self._begun = ""
            return ""
        begun, self._begun = self._begun, ""
        if begun[1] not in "[O":  # Alt and a key
            return ""
        return _NUMBERS.get(begun[2:-1], "") if character == "~" else _ENDINGS.get(character, "")
