"""A connection's bytes to events, in whichever pieces the network delivers them. No I/O.

A connection begins *open*: the original's way, where nothing but a known unit ends a reading. The first newline makes
it *native* for good: from then on nothing but newlines end readings. How a stream is cut into packets changes neither
the readings nor the bytes that answer them. (The exceptions: the first line of a connection, if its unit begins with a
known one, as %RH with %, and is cut just there; or if it is no reading, for then it is refused up to its unit. Behind a
`frota hello` neither can happen.)
"""

import re
from typing import NamedTuple

from frota.sensors import messages, parser
from frota.sensors.messages import Command, Parts
from frota.sensors.parser import HARMLESS

_HARMLESS_BYTES = b" \t\r\0"  # also as many as fill a buffer of fixed size


class Batch(NamedTuple):
    """Readings to store with one write: their parts, their bytes as sent, and whether newlines ended them."""

    readings: list[Parts]
    raw: bytes
    native: bool


class Bad(NamedTuple):
    """Input that is no reading: the reason, whether the line can be answered in its place, or ends the connection."""

    reason: str
    fatal: bool
    text: str = ""


class Newline(NamedTuple):
    """The newline of a reading that was answered before it came: the newline of its answer is due."""


Event = Batch | Bad | Newline | Command
NEWLINE = Newline()


class Framer:
    """One connection's state. After a fatal event it must not be fed again."""

    __slots__ = ("_known", "_pattern", "after_reading", "native", "rest")

    def __init__(self, pattern: re.Pattern[str], known: set[str]) -> None:
        self._pattern, self._known = pattern, known
        self.after_reading = False
        self.native = False
        self.rest = b""

    @property
    def expects_reading(self) -> bool:
        """Tell whether a packet that is exactly one reading may be taken without `feed`, then setting after_reading."""
        return not self.native and not self.rest

    def feed(self, data: bytes) -> list[Event]:
        """Take what arrived, return what is complete now."""
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
        """Return what the rest lacks to be a reading when nothing more comes; nothing if there is no such rest."""
        try:
            text = self.rest.decode().strip(HARMLESS)
        except UnicodeDecodeError:
            return messages.INCOMPLETE
        if not text or self.native:
            return messages.INCOMPLETE if text else ""
        return parser.reason_why_open(text, self._known)

    def _open(self, text: str, tail: bytes) -> list[Event]:
        """Take unterminated readings off the beginning; `tail` is what did not decode (yet)."""
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
            elif text[position] in HARMLESS:
                position = len(text) - len(text[position:].lstrip(HARMLESS))
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
        """Keep the beginning of a reading; refuse what can no longer become one as soon as its unit has come."""
        rest = text.encode() + tail
        if b"\n" in tail:
            self.native = True
            return self._native(rest)
        if not text or tail or len(rest) > messages.MAX_LINE_BYTES or not (reason := parser.reason_if_hopeless(text)):
            return self._unfinished(rest, tail)
        end = parser.end_of_refused(text, self._known)
        if not end:  # what comes next may belong to it, and must not become the name of another sensor
            return self._unfinished(rest)
        self.rest = b""
        self.after_reading = True  # a newline that comes now is that of the answer to this
        return [Bad(reason, fatal=False, text=text[:end]), *self._open(text[end:], b"")]

    def _native(self, data: bytes) -> list[Event]:
        end = data.rfind(b"\n") + 1
        whole = data if end == len(data) else data[:end]
        events = self._lines(whole) if whole else []
        if events and isinstance(events[-1], Bad) and events[-1].fatal:
            return events
        return events + self._unfinished(data[end:].lstrip(_HARMLESS_BYTES))

    def _unfinished(self, rest: bytes, tail: bytes = b"") -> list[Event]:
        """Keep the beginning of a reading; refuse what can no longer become one."""
        self.rest = rest
        if len(rest) > messages.MAX_LINE_BYTES:
            return [Bad(messages.TOO_LONG, fatal=True)]
        return [Bad(messages.NOT_UTF8, fatal=True)] if tail and not _may_continue(tail) else []

    def _lines(self, whole: bytes) -> list[Event]:
        """Read whole lines: all at once when all are readings, one by one otherwise."""
        try:
            readings = messages.LINES.findall(whole.decode())
        except UnicodeDecodeError:
            readings = []
        if len(readings) == whole.count(b"\n"):
            return [Batch(readings, whole, True)]
        return _one_by_one(whole)


def _one_by_one(whole: bytes) -> list[Event]:
    events: list[Event] = []
    readings: list[Parts] = []
    raw: list[bytes] = []  # of the readings that are still to become one batch
    for line in whole.split(b"\n")[:-1]:
        event = _line(line)
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


def _line(line: bytes) -> tuple[messages.Reading, bytes] | Command | Bad | None:
    """Return a reading with its bytes without what is harmless around it, or a control line, or what is wrong.

    A blank line is nothing: many a client ends its last line twice.
    """
    line = line.strip(_HARMLESS_BYTES)
    if len(line) > messages.MAX_LINE_BYTES:
        return Bad(messages.TOO_LONG, fatal=True)
    try:
        text = line.decode().strip(HARMLESS)
    except UnicodeDecodeError:
        return Bad(messages.NOT_UTF8, fatal=False, text=repr(line))
    if not text:
        return None
    try:
        return parser.parse(text), f"{text}\n".encode()
    except parser.Malformed as malformed:
        return messages.parse_command(text) or Bad(str(malformed), fatal=False, text=text)


def _may_continue(tail: bytes) -> bool:
    """Tell whether bytes that do not decode are only the beginning of a character."""
    try:
        tail.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.end == len(tail) and error.reason == "unexpected end of data"
    return True
