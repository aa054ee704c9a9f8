"""A connection's bytes to events, in whichever pieces the network delivers them. No I/O.

A connection begins *open*: the original's way, where nothing but a known unit ends a reading. The first newline makes
it *native* for good: from then on nothing but newlines end readings. How a stream is cut into packets changes neither
the readings nor the bytes that answer them. (One exception: the first line of a connection, if its unit begins with a
known one, as %RH with %, and is cut just there. Behind a `frota hello` it cannot happen.)
"""

import re
from typing import NamedTuple

from frota.sensors import messages
from frota.sensors.messages import Command, Parts


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

    __slots__ = ("_pattern", "after_reading", "native", "rest")

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
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

    def _open(self, text: str, tail: bytes) -> list[Event]:
        """Take unterminated readings off the beginning; `tail` is what did not decode (yet)."""
        events: list[Event] = []
        position = 0
        while position < len(text):
            if self.after_reading and text[position] in "\r\n":
                if text.startswith(("\n", "\r\n"), position):
                    events.append(NEWLINE)
                    position = text.index("\n", position) + 1
                    self.native = True
                break
            match = self._pattern.match(text, position)
            end = text.find("\n", position)
            if end >= 0 and (match is None or messages.LINE.fullmatch(text[position:end].removesuffix("\r"))):
                self.native = True
                break
            if match is None:
                break
            events.append(Batch([match.groups()], match[0].encode(), False))  # type: ignore[list-item]
            self.after_reading = True
            position = match.end()
        rest = text[position:].encode() + tail
        return events + (self._native(rest) if self.native else self._unfinished(rest, tail))

    def _native(self, data: bytes) -> list[Event]:
        end = data.rfind(b"\n") + 1
        whole = data if end == len(data) else data[:end]
        events = self._lines(whole) if whole else []
        if events and isinstance(events[-1], Bad) and events[-1].fatal:
            return events
        return events + self._unfinished(data[end:])

    def _unfinished(self, rest: bytes, tail: bytes = b"") -> list[Event]:
        """Keep the beginning of a reading; refuse what can no longer become one."""
        self.rest = rest
        if len(rest) > messages.LONGEST:
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
    start = position = 0  # of the readings that are still to become one batch; of the line that is looked at
    for line in whole.split(b"\n")[:-1]:
        event = _line(line)
        end = position + len(line) + 1
        if isinstance(event, messages.Reading):
            readings.append(event)
        else:
            events += [Batch(readings, whole[start:position], True)] if readings else []
            events.append(event)
            readings, start = [], end
            if isinstance(event, Bad) and event.fatal:
                return events
        position = end
    return events + ([Batch(readings, whole[start:], True)] if readings else [])


def _line(line: bytes) -> messages.Reading | Command | Bad:
    if len(line) > messages.LONGEST:
        return Bad(messages.TOO_LONG, fatal=True)
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return Bad(messages.NOT_UTF8, fatal=False, text=repr(line))
    match = messages.LINE.fullmatch(text)
    if match:
        return messages.Reading(*match.groups())
    return messages.parse_command(text) or Bad(messages.complaint(text), fatal=False, text=text)


def _may_continue(tail: bytes) -> bool:
    """Tell whether bytes that do not decode are only the beginning of a character."""
    try:
        tail.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.end == len(tail) and error.reason == "unexpected end of data"
    return True
