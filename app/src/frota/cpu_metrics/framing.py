"""Bytes into messages: whoever sends is known by the first of them, and what is too long or makes no sense ends it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from frota.cpu_metrics import messages
from frota.cpu_metrics.messages import Disk, Memory, Network, Own, Sample
from frota.logs.log import printable

# Ignored between messages: white space, NUL, the bytes of a byte order mark.
_PADDING = b" \t\r\n\v\f\0\xef\xbb\xbf"
# The accents may be letters of their own, too, as some editors write them.
_ORIGINAL = re.compile(
    rb"[\s\0\xef\xbb\xbf]*CPU -> N(?:\xc3\xba|u\xcc\x81)cleos: \[([0-9.,eE+ -]*)\] \| "
    rb"M(?:\xc3\xa9|e\xcc\x81)dia: ([0-9.eE+-]{1,24})%"
)
_OUTLINE = re.compile(r"CPU -> N\S+: \[([^\]]*)\] \| M\S+: (.*)%", re.DOTALL)
_DECIMAL_COMMA = re.compile(r"[0-9]+,[0-9]+")
_BEGINNING = b"CPU -> "
_GREATEST = 2**53
_LONGEST_NAME = 260  # characters: a DNS name, or an address with a scope and a number
_LONGEST_AGE = 30 * 86400.0  # seconds; an older sample is no sample
_MOST_BYTES = 2**63
_HTTP = (b"GET ", b"HEAD ")


class Malformed(ValueError):
    """Malformed input: the reason in Portuguese, and the sample's number where it is known."""

    number = 0


class Hello(NamedTuple):
    """A native agent's host, interval (s), last acknowledged sequence number and process.

    `instance` is empty where an older agent says hello.
    """

    host: str
    run: str
    interval: float
    acked: int
    instance: str = ""


class SampleMessage(NamedTuple):
    """A sample, its number (0 for one of the original's) and its age (s)."""

    number: int
    age: float
    sample: Sample


class Pong(NamedTuple):
    """An agent's answer to a ping."""


class Query(NamedTuple):
    """A viewer's query: its kind, "hosts" or "history", the host, and how far back (s)."""

    kind: str
    host: str
    seconds: float


class HttpRequest(NamedTuple):
    """Bytes of HTTP."""

    data: bytes


Event = Hello | SampleMessage | Pong | Query | HttpRequest


class Framer:
    """One connection's bytes; `dialect` is empty until the first have come."""

    __slots__ = ("_rest", "dialect")

    def __init__(self) -> None:
        self.dialect = ""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Event | Malformed]:
        """Yield what is complete; a Malformed in between is of an original agent, which goes on after it.

        Raises Malformed where the connection cannot go on.
        """
        self._rest = data = self._rest + data if self._rest else data
        if not self.dialect:
            self.dialect = _dialect(data)
        if self.dialect == "http":
            if b"\r\n\r\n" in data:
                self._rest = b""
                yield HttpRequest(data)
        elif self.dialect == "native":
            yield from self._native(data)
        elif self.dialect == "original":
            yield from self._original(data)
        if len(self._rest) > messages.MAX_MESSAGE_BYTES:
            raise Malformed(messages.TOO_LONG)

    def _native(self, data: bytes) -> Iterator[Event]:
        *lines, self._rest = data.split(b"\n")
        for one in lines:
            if len(one) > messages.MAX_MESSAGE_BYTES:
                raise Malformed(messages.TOO_LONG)
            if (event := _event(one)) is not None:
                yield event

    def _original(self, data: bytes) -> Iterator[Event | Malformed]:
        """Messages end with a percent sign, and nothing stands between them."""
        *parts, self._rest = data.split(b"%")
        for part in parts:
            found = _ORIGINAL.fullmatch(part + b"%")
            begins = part.rfind(_BEGINNING)
            if not found and begins > 0:  # something stands before a message that may be whole
                yield Malformed(messages.INVALID_MESSAGE)
                found = _ORIGINAL.fullmatch(part[begins:] + b"%")
            yield _reading_of(found) if found else _fault(part + b"%")


def _dialect(data: bytes) -> str:
    """Return how the other side speaks, empty while that is open. Raises Malformed."""
    start = data.lstrip(_PADDING)[:8]
    if start.startswith(b"{"):
        return "native"
    for beginnings, name in ((_HTTP, "http"), ((_BEGINNING,), "original")):
        if start.startswith(beginnings):
            return name
        if any(one.startswith(start) for one in beginnings):
            return ""
    raise Malformed(messages.INVALID_MESSAGE)


def _reading_of(found: re.Match[bytes]) -> SampleMessage | Malformed:
    try:
        cores = tuple(float(one) for one in found[1].split(b",")) if found[1].strip() else ()
        return SampleMessage(0, 0.0, Sample(_percentages(cores), _number("mean", float(found[2]), 100)))
    except ValueError:
        return _fault(found[0])


def _fault(part: bytes) -> Malformed:
    """Tell what is wrong with an original agent's message."""
    try:
        found = _OUTLINE.match(part[max(0, part.rfind(_BEGINNING)) :].decode())
    except UnicodeDecodeError:
        return Malformed(f"{messages.INVALID_MESSAGE}; não é UTF-8")
    if not found:
        return Malformed(messages.INVALID_MESSAGE)
    if comma := _DECIMAL_COMMA.fullmatch(found[2]):
        text = f"média {_excerpt(comma[0])}, com vírgula; o separador decimal é o ponto"
    else:
        text = f"núcleos {_excerpt(found[1])}, média {_excerpt(found[2])}; esperava números de 0 a 100"
    return Malformed(messages.INVALID_SAMPLE.format(text))


def _event(one: bytes) -> Event | None:
    """Read a line of a native agent or a viewer; None for an empty one. Raises Malformed."""
    try:
        fields = orjson.loads(one)
    except orjson.JSONDecodeError as error:
        if (stripped := one.strip(_PADDING)) != one:
            return _event(stripped) if stripped else None
        if not one:
            return None
        raise Malformed(_no_json(one, error)) from None
    if type(fields) is not dict:
        raise Malformed(messages.INVALID_MESSAGE)
    if fields.get("frota") != messages.VERSION:
        raise Malformed(f"{messages.INVALID_MESSAGE}; frota é {_excerpt(fields.get('frota'))}")
    if "n" in fields:
        try:
            return _native_reading(fields)
        except Malformed as bad:
            bad.number = fields["n"] if type(fields["n"]) is int else 0
            raise
    if "hello" in fields:
        return _hello(fields["hello"])
    if "pong" in fields:
        return Pong()
    return _ask(fields)


def _no_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    hint = ": NaN e Infinity não são números de JSON" if b"NaN" in line or b"Infinity" in line else ""
    return f"{messages.INVALID_MESSAGE}; o JSON está errado na coluna {error.colno}{hint}"


def _excerpt(value: object) -> str:
    """Return what came as it can be shown, and no more than a few words of it."""
    try:
        text = printable(repr(value))
    except RecursionError:  # JSON may be deeper than what Python shows
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}…"


def _hello(fields: Any) -> Hello:
    try:
        host, run, interval = fields["host"], fields["run"], _number("interval", fields["interval"], 86400)
        acked = int(_number("acked", fields.get("acked", 0), _GREATEST))
        instance = fields.get("instance", "")
    except (TypeError, KeyError, Malformed):
        raise Malformed(messages.INVALID_HELLO) from None
    if not messages.is_host(host):
        raise Malformed(f"{messages.INVALID_HELLO}; host é {_excerpt(host)}, e pode ter {messages.HOST_CHARACTERS}")
    if not (messages.is_run(run) and interval > 0 and (instance == "" or messages.is_run(instance))):
        raise Malformed(messages.INVALID_HELLO)
    return Hello(host, run, interval, acked, instance)


def _ask(fields: dict[str, Any]) -> Query:
    what, host = fields.get("ask"), fields.get("host", "")
    # An original agent's name is its address, which may begin with a colon: whether there is such a host is seen later.
    if what not in ("hosts", "history") or type(host) is not str or len(host) > _LONGEST_NAME:
        raise Malformed(messages.INVALID_MESSAGE)
    return Query(what, host, _number("seconds", fields.get("seconds", 3600), _GREATEST))


def _native_reading(fields: dict[str, Any]) -> SampleMessage:
    """Read a sample; what is not there is not measured. Raises Malformed."""
    number = fields["n"]
    if type(number) is not int or not 1 <= number <= _GREATEST:
        raise Malformed(messages.INVALID_SAMPLE.format(f"n é {_excerpt(number)}, esperava um número inteiro desde 1"))
    cores, load = fields.get("cpu"), fields.get("load")
    if type(cores) is not list:
        raise Malformed(messages.INVALID_SAMPLE.format(f"cpu é {_excerpt(cores)}, esperava uma lista"))
    if load is not None and (type(load) is not list or len(load) != 3):
        raise Malformed(messages.INVALID_SAMPLE.format(f"load é {_excerpt(load)}, esperava três números"))
    sample = Sample(
        _percentages(tuple(cores)),
        _number("mean", fields.get("mean"), 100),
        (_number("load", load[0]), _number("load", load[1]), _number("load", load[2])) if load else None,
        _part(fields, "memory", Memory),
        _part(fields, "disk", Disk),
        _part(fields, "network", Network),
        _part(fields, "own", Own),
    )
    return SampleMessage(number, _number("age", fields.get("age", 0), _LONGEST_AGE), sample)


def _part(fields: dict[str, Any], name: str, kind: Any) -> Any:
    """Return one group of figures, None where there is none; a counter is a whole number."""
    found = fields.get(name)
    if found is None:
        return None
    if type(found) is not dict:
        raise Malformed(messages.INVALID_SAMPLE.format(f"{name} é {_excerpt(found)}, esperava um objeto"))
    wholes = kind.__annotations__
    return kind(*(_figure(name, found.get(one), wholes[one]) for one in kind._fields))


def _figure(name: str, value: Any, kind: type) -> float:
    number = _number(name, value, _MOST_BYTES - 1025)  # the greatest float below it, so that a sum still fits
    return int(number) if kind is int else number


def _percentages(cores: tuple[Any, ...]) -> tuple[float, ...]:
    if not 1 <= len(cores) <= messages.MAX_CORES:
        text = f"cpu tem {len(cores)} núcleos, esperava de 1 a {messages.MAX_CORES}"
        raise Malformed(messages.INVALID_SAMPLE.format(text))
    return tuple(_number("cpu", one, 100) for one in cores)


def _number(name: str, value: Any, most: float = 1e9) -> float:
    """Return a number from 0 to `most`. Raises Malformed."""
    if (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most
    ):  # nan is not between any
        raise Malformed(
            messages.INVALID_SAMPLE.format(f"{name} é {_excerpt(value)}, esperava um número de 0 a {most:g}")
        )
    return value
