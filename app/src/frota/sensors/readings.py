"""Stored readings: encoding and decoding of the WAL's records, and queries. No I/O.

A payload has one section or more: a line `HOST PORT COUNT OUT_OF_RANGE`, then the lines of COUNT readings as they were
sent. OUT_OF_RANGE lists the indices (from 0) of those that were out of range when they arrived, `-` for none. A record
of a client with sequence numbers has one section, and the number of its last reading.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from frota.core.errors import MalformedMessage
from frota.net.addresses import endpoint
from frota.sensors import names, parser, units
from frota.storage.wal.segment import NO_PRODUCER, Record

MAX_READINGS = 1_000_000  # of one query
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
# Units that earlier releases accepted; not those that may continue the number.
_FORMER_READING = re.compile(
    r"(\w[^:]{0,120}?) - (\w[^:]{0,63}): (-?[0-9]{1,17}(?:\.[0-9]{1,17})?)((?:[^\W\dxXeEdD_]|[°%‰℃℉])[\w°%/.·^*-]*)"
)
_ASCII = re.compile("[ -~]*")
_LAST_US = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class StoredReading(NamedTuple):
    """One stored reading; `text` is as it was sent."""

    time_us: int
    peer: str
    text: str
    in_range: bool
    client: str | None
    number: int | None

    def fields(self) -> dict[str, Any]:
        """Return the fields of its JSON object; the time is ISO 8601, UTC, with microseconds.

        The parts of the text are in canonical form. Raises ValueError if the text is no reading, as an earlier release
        may have stored it.
        """
        sensor, kind, value, unit = _parts(self.text)
        numbered = {"client": self.client, "number": self.number} if self.client else {}
        return {
            "time": isoformat(self.time_us),
            "sensor": names.composed(sensor),
            "kind": names.composed(kind),
            "value": float(value),
            "unit": units.canonical(unit),
            "text": self.text,
            "peer": self.peer,
            "in_range": self.in_range,
            **numbered,
        }


class Query(NamedTuple):
    """Selects stored readings: the `last` ones, of one sensor (None: of all), not before `since_us` (µs since 1970)."""

    last: int = 20
    sensor: str | None = None
    since_us: int = 0

    @classmethod
    def from_json(cls, text: str) -> "Query":
        """Parse the argument of a control line. Raises ValueError saying what would be right."""
        try:
            query = cls(**json.loads(text or "{}"))
        except (ValueError, TypeError, RecursionError):
            raise ValueError('esperava {"last": 100, "sensor": "Sensor1", "since_us": 0}') from None
        right = type(query.last) is int and type(query.since_us) is int and is_name(query.sensor)
        if not right or not 0 <= query.last <= MAX_READINGS:
            raise ValueError(
                f"last vai de 0 a {MAX_READINGS}, sensor é um texto, since_us são microssegundos desde 1970"
            )
        return query

    def to_json(self) -> str:
        """Return the argument of a control line."""
        return json.dumps({name: value for name, value in self._asdict().items() if value})

    def count(self, record: Record) -> int:
        """Return how many readings of a record match."""
        if self.sensor is None:
            return _count(record.payload) if record.time_us >= self.since_us else 0
        return sum(1 for _ in self.select(record))

    def select(self, record: Record) -> Iterator[StoredReading]:
        """Yield the readings of a record that match."""
        if record.time_us < self.since_us:
            return
        if self.sensor is None:
            yield from decode(record)
        elif _ascii_run(self.sensor) in record.payload:
            of_sensor = _of_sensor(self.sensor)
            yield from (reading for reading in decode(record) if of_sensor(reading.text))


def _of_sensor(sensor: str) -> Callable[[str], bool]:
    """Return a function that tells whether a text is a reading of that sensor, in any form of its name."""
    name = names.composed(sensor)
    beginning = f"{name} - "
    if name.isascii():
        return lambda text: text.startswith(beginning)
    return lambda text: text.startswith(beginning) or names.composed(text.partition(" - ")[0]) == name


def _ascii_run(name: str) -> bytes:
    """Return the longest part of a name that its composed and its decomposed form share."""
    longest: str = max(_ASCII.findall(names.composed(name)), key=len)
    return longest.encode()


def is_name(sensor: object) -> bool:
    """Tell whether a query may have this sensor: None, or text that can be UTF-8 (no half of a surrogate pair)."""
    return sensor is None or (isinstance(sensor, str) and sensor.isprintable())


def head(host: str, port: int, count: int, out_of_range: Sequence[int] = ()) -> bytes:
    """Return the first line of a section."""
    return f"{host} {port} {count} {','.join(map(str, out_of_range)) or '-'}\n".encode()


def join(heads: Sequence[bytes], raw: Sequence[bytes]) -> bytes:
    """Return the payload of many sections with one legacy reading each."""
    return b"\n".join([head + reading for head, reading in zip(heads, raw, strict=True)])


def decode(record: Record) -> Iterator[StoredReading]:
    """Yield the readings of a record in the order of their arrival. Raises nothing, whatever the payload is."""
    client = None if record.producer == NO_PRODUCER else str(UUID(bytes=record.producer))
    for peer, out_of_range, lines in _sections(record.payload):
        first = record.sequence - len(lines) + 1
        for index, line in enumerate(lines):
            number = first + index if client else None
            yield StoredReading(
                record.time_us, peer, line.removesuffix("\r"), index not in out_of_range, client, number
            )


def _parts(text: str) -> tuple[str, str, str, str]:
    """Parse a stored reading. Raises ValueError."""
    try:
        return parser.parse(text)
    except MalformedMessage:
        match = _FORMER_READING.fullmatch(text)
        if match is None:
            raise
        return match[1], match[2], match[3], match[4]


def _sections(payload: bytes) -> Iterator[tuple[str, set[int], list[str]]]:
    """Yield peer, indices out of range and lines of each section; text without a head is one illegible reading."""
    lines = payload.decode(errors="replace").split("\n")
    position = 0
    while position < len(lines) and lines[position]:
        try:
            host, port, count, indices = lines[position].split(" ")
            out_of_range = set() if indices == "-" else set(map(int, indices.split(",")))
            end = position + 1 + _positive(count)
        except ValueError:
            yield "?", set(), ["\n".join(lines[position:])]
            return
        yield endpoint(host, port), out_of_range, lines[position + 1 : end]
        position = end


def _count(payload: bytes) -> int:
    """Return how many readings `decode` yields."""
    lines = payload.split(b"\n")
    position = count = 0
    while position < len(lines) and lines[position]:
        try:
            _, _, in_section, indices = lines[position].split(b" ")
            _ = indices == b"-" or list(map(int, indices.split(b",")))
            end = position + 1 + _positive(in_section)
        except ValueError:
            return count + 1
        count += len(lines[position + 1 : end])
        position = end
    return count


def _positive(text: str | bytes) -> int:
    """Return a number of at least 1; a section of 0 lines would never end. Raises ValueError."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def isoformat(time_us: int) -> str:
    """Return µs since 1970 as ISO 8601 in UTC, always with six decimals; the last moment of 9999 at most."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(time_us, _LAST_US))
    return moment.isoformat(timespec="microseconds")


def parse_since(text: str, now: datetime) -> int:
    """Return the µs since 1970 of `10m`, `2h`, `30s`, `7d` before now, or of an ISO 8601 time. Raises ValueError."""
    if ago := _AGO.fullmatch(text):
        try:
            moment = now - timedelta(**{_SPANS[ago[2]]: int(ago[1])})
        except OverflowError:
            return 0
        return max(0, int(moment.timestamp() * 1e6))
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1e6)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: expected 30s, 10m, 2h, 7d or 2026-01-31T12:00:00Z") from None
