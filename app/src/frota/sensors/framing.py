"""Framing: a connection's bytes become events, in whichever packets they arrive. No I/O.

A connection begins in the *open* mode of the legacy protocol, in which a known unit ends a reading. The first newline
makes it *native* for good: from then on only newlines end readings. How a stream is split into packets changes neither
the readings nor the bytes that answer them, with two exceptions, both in the first line and never after a
`frota hello`: a unit that begins with a known one, as %RH with %, and is split there; and a line that is no reading,
which is rejected up to its unit.
"""

import re
from typing import NamedTuple

from frota.core.errors import MalformedMessage
from frota.sensors import messages, parser
from frota.sensors.messages import Command, Parts
from frota.sensors.parser import PADDING

_PADDING_BYTES = b" \t\r\0"  # NUL: some clients send a buffer of fixed size


class Batch(NamedTuple):
    """Readings to store as one record: their parts, their bytes as sent, and whether newlines ended them."""

    readings: list[Parts]
    raw: bytes
    native: bool


class Bad(NamedTuple):
    """MalformedMessage input: the reason, and whether it ends the connection."""

    reason: str
    fatal: bool
    text: str = ""


class Newline(NamedTuple):
    """A newline that arrived after its reading was answered: the newline of the answer is due."""


Event = Batch | Bad | Newline | Command
NEWLINE = Newline()


class Framer:
    """The framing of one connection. After a fatal event it must not be fed again.

    `rest` is the beginning of a message; `after_reading` tells that a newline would end the last answer.
    """

    __slots__ = ("_known", "_pattern", "after_reading", "native", "rest")

    def __init__(self, pattern: re.Pattern[str], known: set[str]) -> None:
        self._pattern, self._known = pattern, known
        self.after_reading = False
        self.native = False
        self.rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """Process input; return the events that are complete now."""
        if self.rest:
            data = self.rest + data
        if self.native:
            return self._native(data)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            return self._open(data[: error.start].decode(), data[error.start :])
        return self._open(text, b"")

    def why_unfinished(self) -> str:
        """Return what the rest lacks to be a reading, for the end of the input; "" without a rest."""
        try:
            text = self.rest.decode().strip(PADDING)
        except UnicodeDecodeError:
            return messages.INCOMPLETE
        if not text or self.native:
            return messages.INCOMPLETE if text else ""
        return parser.reason_why_open(text, self._known)

    def _open(self, text: str, tail: bytes) -> list[Event]:
        """Split off the readings at the beginning; `tail` is the part that is not UTF-8 (yet)."""
        events: list[Event] = []
        position = 0
        while position < len(text):
            if self.after_reading and text[position] == "\n":
                events.append(NEWLINE)
                position += 1
                self.native = True
                break
            parts: Parts | None
            if match := self._pattern.match(text, position):
                parts, end = match.groups(), match.end()  # type: ignore[assignment]  # the pattern has four groups
            elif text[position] in PADDING:
                position = len(text) - len(text[position:].lstrip(PADDING))
                continue
            else:
                parts, end = parser.parse_open(text, position, self._known) or (None, position)
            newline = text.find("\n", position)
            if newline >= 0 and (parts is None or parser.is_reading(text[position:newline])):
                self.native = True
                break
            if parts is None:
                break
            events.append(Batch([parts], text[position:end].encode(), False))
            self.after_reading = True
            position = end
        if self.native:
            return events + self._native(text[position:].encode() + tail)
        return events + self._open_rest(text[position:], tail)

    def _open_rest(self, text: str, tail: bytes) -> list[Event]:
        """Keep the beginning of a reading; reject what cannot become one as soon as its unit has arrived."""
        rest = text.encode() + tail
        if b"\n" in tail:
            self.native = True
            return self._native(rest)
        if not text or tail or len(rest) > messages.MAX_LINE_BYTES or not (reason := parser.reason_if_hopeless(text)):
            return self._unfinished(rest, tail)
        end = parser.end_of_rejected(text, self._known)
        if not end:  # what follows may belong to it, and must not be read as a sensor's name
            return self._unfinished(rest)
        self.rest = b""
        self.after_reading = True  # the next newline ends the answer to this
        return [Bad(reason, fatal=False, text=text[:end]), *self._open(text[end:], b"")]

    def _native(self, data: bytes) -> list[Event]:
        end = data.rfind(b"\n") + 1
        whole = data if end == len(data) else data[:end]
        events = self._lines(whole) if whole else []
        if events and isinstance(events[-1], Bad) and events[-1].fatal:
            return events
        return events + self._unfinished(data[end:].lstrip(_PADDING_BYTES))

    def _unfinished(self, rest: bytes, tail: bytes = b"") -> list[Event]:
        """Keep the beginning of a reading; reject what cannot become one."""
        self.rest = rest
        if len(rest) > messages.MAX_LINE_BYTES:
            return [Bad(messages.TOO_LONG, fatal=True)]
        return [Bad(messages.NOT_UTF8, fatal=True)] if tail and not _may_continue(tail) else []

    def _lines(self, whole: bytes) -> list[Event]:
        """Parse whole lines: all at once if all are readings, else one by one."""
        try:
            readings = messages.LINES.findall(whole.decode())
        except UnicodeDecodeError:
            readings = []
        if len(readings) == whole.count(b"\n"):
            return [Batch(readings, whole, True)]
        return _parse_lines(whole)


def _parse_lines(whole: bytes) -> list[Event]:
    events: list[Event] = []
    readings: list[Parts] = []
    raw: list[bytes] = []  # of `readings`
    for line in whole.split(b"\n")[:-1]:
        event = _parse_line(line)
        if event is None:
            continue
        if isinstance(event, Bad | Command):
            events += [Batch(readings, b"".join(raw), True)] if readings else []
            events.append(event)
            readings, raw = [], []
            if isinstance(event, Bad) and event.fatal:
                return events
        else:
            readings.append(event[0])
            raw.append(event[1])
    return events + ([Batch(readings, b"".join(raw), True)] if readings else [])


def _parse_line(line: bytes) -> tuple[messages.Reading, bytes] | Command | Bad | None:
    """Return a reading with its bytes without padding, or a control line, or the error.

    None for a blank line: many clients end their last line twice.
    """
    line = line.strip(_PADDING_BYTES)
    if len(line) > messages.MAX_LINE_BYTES:
        return Bad(messages.TOO_LONG, fatal=True)
    try:
        text = line.decode().strip(PADDING)
    except UnicodeDecodeError:
        return Bad(messages.NOT_UTF8, fatal=False, text=repr(line))
    if not text:
        return None
    try:
        return parser.parse(text), f"{text}\n".encode()
    except MalformedMessage as malformed:
        return messages.parse_command(text) or Bad(str(malformed), fatal=False, text=text)


def _may_continue(tail: bytes) -> bool:
    """Tell whether bytes that are not UTF-8 are only the beginning of a character."""
    try:
        tail.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.end == len(tail) and error.reason == "unexpected end of data"
    return True
