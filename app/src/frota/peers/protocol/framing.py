r"""Framing: the bytes of a TCP connection become JSON objects, in whichever packets they arrive. No I/O.

Messages are objects, one after another, each maybe followed by white space; legacy programs send no newline, or one.
How a stream is split into packets changes neither the messages nor the reasons of rejections.

The fast path gives orjson what ends with a newline, or with the packet: it succeeds exactly if that is one message.
For anything else the scanner counts brackets outside of strings; it scans each byte once.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from frota.core.errors import MalformedMessage

MAX_MESSAGE_BYTES = 1024 * 1024  # 1,000 tasks of the longest kind take half of it
MAX_DEPTH = 1024  # orjson's own limit
_MAX_ATTEMPTS = 3  # failures of the fast path before only the scanner is used: each may parse all that has arrived
_EXCERPT_CHARACTERS = 20
_QUOTE, _BACKSLASH, _OPENING = ord('"'), ord("\\"), b"{["
_SPACE = re.compile(rb"[ \t\r\n]*")
_NEWLINE = re.compile(rb"[ \t\r]*\n")
# To the next bracket, over complete strings; or to the quote of a string that is incomplete or malformed. The number of
# strings is limited because the regular expression engine keeps a state for each.
_OUTSIDE_STRING = re.compile(rb'[^"{}\[\]]*(?:"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*){0,250}"[^"{}\[\]]*){0,250}')
_INSIDE_STRING = re.compile(rb'[^"\\\x00-\x1f]*')


class Frame(NamedTuple):
    """A message: its text, the object that orjson parsed, and whether a newline ended it, as far as has arrived."""

    text: bytes | str
    fields: dict[str, Any]
    newline: bool = False


class Bad(NamedTuple):
    """Malformed input: the reason, and whether the end of the message is unknown, which ends the connection."""

    reason: str
    fatal: bool


class Framer:
    """The framing of one connection. After a fatal `Bad` it ignores all input."""

    __slots__ = ("_attempts", "_buffer", "_failed", "_scanner", "_searched", "max_bytes")

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.max_bytes = max_bytes  # of one message
        self._buffer = bytearray()  # begins with a message that is not complete
        self._scanner = Scanner()
        self._searched = 0  # no newline before this position of the buffer
        self._attempts = 0
        self._failed = False

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an incomplete message are buffered."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame | Bad]:
        """Process input; return the messages that are complete now."""
        return list(self.events(data))

    def events(self, data: bytes) -> Iterator[Frame | Bad]:
        """Do the same one by one: what is not taken is not parsed. Take all before the next call."""
        if frame := self.whole(data):
            yield frame
            return
        self._buffer += b"" if self._failed else data
        while event := self._next():
            yield event

    def whole(self, data: bytes) -> Frame | None:
        """Return the message that the input consists of; None if there is more or less in it, or anything before."""
        return None if self._failed or self._buffer or len(data) > self.max_bytes else _whole_packet(data)

    def stop(self) -> None:
        """Free the buffer, and ignore all further input."""
        self._failed = True
        self._buffer.clear()

    def _next(self) -> Frame | Bad | None:
        """Take a message off the buffer; None if it is not complete."""
        if not self._scanner.position:
            self._remove(_SPACE.match(self._buffer).end())  # type: ignore[union-attr]  # it matches the empty text
        if not self._buffer:
            self._attempts = 0
            return None
        if self._buffer[:1] != b"{":
            return self._fail(f'expected "{{" of a JSON object, not {bytes(self._buffer[:1])!r}')
        return self._by_line() or self._by_scanner()

    def _by_line(self) -> Frame | None:
        """Take what ends with a newline, or else with the packet, if that is one message."""
        if self._attempts >= _MAX_ATTEMPTS:
            return None
        end = self._buffer.find(b"\n", self._searched) + 1
        self._searched = end or len(self._buffer)
        if not end and self._buffer[-1:] != b"}":
            return None
        self._attempts += 1
        text = bytes(self._buffer[:end] if end else self._buffer)
        if len(text.rstrip()) > self.max_bytes:
            return None
        try:
            frame = Frame(text, orjson.loads(text), end > 0)
        except ValueError:
            return None
        self._attempts = 0
        self._remove(len(text))
        return frame

    def _by_scanner(self) -> Frame | Bad | None:
        try:
            end = self._scanner.scan(self._buffer, self.max_bytes)
        except MalformedMessage as malformed:
            return self._fail(str(malformed))
        if not end:
            return None
        text = bytes(self._buffer[:end])
        newline = _NEWLINE.match(self._buffer, end) is not None
        self._remove(end)
        try:
            return Frame(text, parse(text), newline)
        except MalformedMessage as malformed:
            return Bad(str(malformed), fatal=False)

    def _remove(self, count: int) -> None:
        if count:
            del self._buffer[:count]
            self._scanner = Scanner()
            self._searched = 0

    def _fail(self, reason: str) -> Bad:
        self.stop()
        return Bad(reason, fatal=True)


class Scanner:
    """Finds the end of the object at the beginning of a buffer that grows."""

    __slots__ = ("_depth", "_in_string", "position")

    def __init__(self) -> None:
        self.position = 0  # all before it is scanned
        self._depth = 0
        self._in_string = False

    def scan(self, buffer: bytearray, max_bytes: int) -> int:
        """Return the end of the object, 0 while it is incomplete.

        Raises MalformedMessage if it is longer than `max_bytes`, too deep, or has a control character in a string.
        """
        limit = min(len(buffer), max_bytes)
        while self.position < limit:
            pattern = _INSIDE_STRING if self._in_string else _OUTSIDE_STRING
            end = pattern.match(buffer, self.position, limit).end()  # type: ignore[union-attr]  # it matches anything
            self.position = min(end + 1, limit)
            if end < limit and self._ends(buffer[end]):
                return self.position
        if len(buffer) > max_bytes:
            raise MalformedMessage(f"the message is too long: at most {max_bytes} bytes")
        return 0

    def _ends(self, byte: int) -> bool:
        """Count a quote, a backslash or a bracket; tell whether it ends the object."""
        if byte == _QUOTE:
            self._in_string = not self._in_string
        elif byte == _BACKSLASH:
            self.position += 1  # the byte after it, which may not have arrived, is no quote
        elif self._in_string:
            raise MalformedMessage(f"control character {byte:#04x} in a string")
        else:
            self._depth += 1 if byte in _OPENING else -1
            if self._depth > MAX_DEPTH:
                raise MalformedMessage(f"nested too deeply: at most {MAX_DEPTH} levels")
            return not self._depth
        return False


def parse(text: bytes | str) -> dict[str, Any]:
    """Parse a text that is one message, as a WebSocket carries it. Raises MalformedMessage."""
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        excerpt = error.doc[error.pos : error.pos + _EXCERPT_CHARACTERS]
        raise MalformedMessage(f"not JSON: {error.msg.partition(': line')[0]}, at {excerpt!r}") from None
    if type(fields) is not dict:
        raise MalformedMessage("a message must be a JSON object")
    return fields


def _whole_packet(data: bytes) -> Frame | None:
    """Return the message that a packet consists of; None if there is more or less in it."""
    newline = data.find(b"\n")
    if newline >= 0 and newline != len(data) - 1:
        return None
    try:
        fields = orjson.loads(data)
    except ValueError:
        return None
    return Frame(data, fields, newline >= 0) if type(fields) is dict else None
