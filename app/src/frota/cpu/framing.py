"""Framing: a connection's bytes become messages. The first bytes tell the dialect. No I/O."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from frota.core.errors import MalformedMessage
from frota.cpu import messages
from frota.cpu.messages import Disk, Memory, Network, Own, Sample
from frota.logs.log import printable

# Ignored between messages: white space, NUL, a byte order mark.
_PADDING = b" \t\r\n\v\f\0\xef\xbb\xbf"
# Accents may be composed or decomposed.
_LEGACY = re.compile(
    rb"[\s\0\xef\xbb\xbf]*CPU -> N(?:\xc3\xba|u\xcc\x81)cleos: \[([0-9.,eE+ -]*)\] \| "
    rb"M(?:\xc3\xa9|e\xcc\x81)dia: ([0-9.eE+-]{1,24})%"
)
_OUTLINE = re.compile(r"CPU -> N\S+: \[([^\]]*)\] \| M\S+: (.*)%", re.DOTALL)
_DECIMAL_COMMA = re.compile(r"[0-9]+,[0-9]+")
_LEGACY_PREFIX = b"CPU -> "
_MAX_NUMBER = 2**53  # what JSON holds exactly
_MAX_NAME_CHARACTERS = 260  # of a DNS name, or an address with a scope and a number
_MAX_AGE_S = 30 * 86400.0
_MAX_BYTES = 2**63
_HTTP_PREFIXES = (b"GET ", b"HEAD ")


class Hello(NamedTuple):
    """A native agent's host, interval (s), last acknowledged sequence number and process.

    `instance` is "" in the hello of an older agent.
    """

    host: str
    run: str
    interval: float
    acked: int
    instance: str = ""


class SampleMessage(NamedTuple):
    """A sample, its sequence number (0 from a legacy agent) and its age (s)."""

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
    """An HTTP request, as bytes."""

    data: bytes


Event = Hello | SampleMessage | Pong | Query | HttpRequest


class Framer:
    """The framing of one connection.

    `dialect` is "" until it is known, then "native", "original" (legacy) or "http".
    """

    __slots__ = ("_rest", "dialect")

    def __init__(self) -> None:
        self.dialect = ""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Event | MalformedMessage]:
        """Process input and yield the messages that are complete.

        Yields MalformedMessage for a malformed legacy message, after which the connection goes on; raises it if the
        connection cannot go on.
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
            yield from self._legacy(data)
        if len(self._rest) > messages.MAX_MESSAGE_BYTES:
            raise MalformedMessage(messages.TOO_LONG)

    def _native(self, data: bytes) -> Iterator[Event]:
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            if len(line) > messages.MAX_MESSAGE_BYTES:
                raise MalformedMessage(messages.TOO_LONG)
            if (event := _event(line)) is not None:
                yield event

    def _legacy(self, data: bytes) -> Iterator[Event | MalformedMessage]:
        """Split legacy messages: each ends with a percent sign, and there is no separator."""
        *parts, self._rest = data.split(b"%")
        for part in parts:
            match = _LEGACY.fullmatch(part + b"%")
            begins = part.rfind(_LEGACY_PREFIX)
            if not match and begins > 0:  # bytes before a message that may be complete
                yield MalformedMessage(messages.INVALID_MESSAGE)
                match = _LEGACY.fullmatch(part[begins:] + b"%")
            yield _legacy_sample(match) if match else _legacy_error(part + b"%")


def _dialect(data: bytes) -> str:
    """Return the peer's dialect, "" while it is unknown. Raises MalformedMessage."""
    start = data.lstrip(_PADDING)[:8]
    if start.startswith(b"{"):
        return "native"
    for prefixes, name in ((_HTTP_PREFIXES, "http"), ((_LEGACY_PREFIX,), "original")):
        if start.startswith(prefixes):
            return name
        if any(prefix.startswith(start) for prefix in prefixes):
            return ""
    raise MalformedMessage(messages.INVALID_MESSAGE)


def _legacy_sample(match: re.Match[bytes]) -> SampleMessage | MalformedMessage:
    try:
        cores = tuple(float(core) for core in match[1].split(b",")) if match[1].strip() else ()
        return SampleMessage(0, 0.0, Sample(_percentages(cores), _number("mean", float(match[2]), 100)))
    except ValueError:
        return _legacy_error(match[0])


def _legacy_error(part: bytes) -> MalformedMessage:
    """Return why a legacy message is malformed."""
    try:
        match = _OUTLINE.match(part[max(0, part.rfind(_LEGACY_PREFIX)) :].decode())
    except UnicodeDecodeError:
        return MalformedMessage(f"{messages.INVALID_MESSAGE}; não é UTF-8")
    if not match:
        return MalformedMessage(messages.INVALID_MESSAGE)
    if comma := _DECIMAL_COMMA.fullmatch(match[2]):
        text = f"média {_excerpt(comma[0])}, com vírgula; o separador decimal é o ponto"
    else:
        text = f"núcleos {_excerpt(match[1])}, média {_excerpt(match[2])}; esperava números de 0 a 100"
    return MalformedMessage(messages.INVALID_SAMPLE.format(text))


def _event(line: bytes) -> Event | None:
    """Parse a line of a native agent or a viewer; None for a blank one. Raises MalformedMessage."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if (stripped := line.strip(_PADDING)) != line:
            return _event(stripped) if stripped else None
        if not line:
            return None
        raise MalformedMessage(_invalid_json(line, error)) from None
    if type(fields) is not dict:
        raise MalformedMessage(messages.INVALID_MESSAGE)
    if fields.get("frota") != messages.VERSION:
        raise MalformedMessage(f"{messages.INVALID_MESSAGE}; frota é {_excerpt(fields.get('frota'))}")
    if "n" in fields:
        try:
            return _native_sample(fields)
        except MalformedMessage as bad:
            bad.number = fields["n"] if type(fields["n"]) is int else 0
            raise
    if "hello" in fields:
        return _hello(fields["hello"])
    if "pong" in fields:
        return Pong()
    return _query(fields)


def _invalid_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    hint = ": NaN e Infinity não são números de JSON" if b"NaN" in line or b"Infinity" in line else ""
    return f"{messages.INVALID_MESSAGE}; o JSON está errado na coluna {error.colno}{hint}"


def _excerpt(value: object) -> str:
    """Return a value as printable text of 81 characters at most."""
    try:
        text = printable(repr(value))
    except RecursionError:  # JSON may be nested deeper than repr can go
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}…"


def _hello(fields: Any) -> Hello:
    try:
        host, run, interval = fields["host"], fields["run"], _number("interval", fields["interval"], 86400)
        acked = int(_number("acked", fields.get("acked", 0), _MAX_NUMBER))
        instance = fields.get("instance", "")
    except (TypeError, KeyError, MalformedMessage):
        raise MalformedMessage(messages.INVALID_HELLO) from None
    if not messages.is_host(host):
        raise MalformedMessage(
            f"{messages.INVALID_HELLO}; host é {_excerpt(host)}, e pode ter {messages.HOST_CHARACTERS}"
        )
    if not (messages.is_run(run) and interval > 0 and (instance == "" or messages.is_run(instance))):
        raise MalformedMessage(messages.INVALID_HELLO)
    return Hello(host, run, interval, acked, instance)


def _query(fields: dict[str, Any]) -> Query:
    kind, host = fields.get("ask"), fields.get("host", "")
    # A legacy agent's name is its address, which may begin with a colon.
    if kind not in ("hosts", "history") or type(host) is not str or len(host) > _MAX_NAME_CHARACTERS:
        raise MalformedMessage(messages.INVALID_MESSAGE)
    return Query(kind, host, _number("seconds", fields.get("seconds", 3600), _MAX_NUMBER))


def _native_sample(fields: dict[str, Any]) -> SampleMessage:
    """Parse a sample; missing fields were not measured. Raises MalformedMessage."""
    number = fields["n"]
    if type(number) is not int or not 1 <= number <= _MAX_NUMBER:
        raise MalformedMessage(
            messages.INVALID_SAMPLE.format(f"n é {_excerpt(number)}, esperava um número inteiro desde 1")
        )
    cores, load = fields.get("cpu"), fields.get("load")
    if type(cores) is not list:
        raise MalformedMessage(messages.INVALID_SAMPLE.format(f"cpu é {_excerpt(cores)}, esperava uma lista"))
    if load is not None and (type(load) is not list or len(load) != 3):
        raise MalformedMessage(messages.INVALID_SAMPLE.format(f"load é {_excerpt(load)}, esperava três números"))
    sample = Sample(
        _percentages(tuple(cores)),
        _number("mean", fields.get("mean"), 100),
        (_number("load", load[0]), _number("load", load[1]), _number("load", load[2])) if load else None,
        _part(fields, "memory", Memory),
        _part(fields, "disk", Disk),
        _part(fields, "network", Network),
        _part(fields, "own", Own),
    )
    return SampleMessage(number, _number("age", fields.get("age", 0), _MAX_AGE_S), sample)


def _part(fields: dict[str, Any], name: str, kind: Any) -> Any:
    """Parse one group of values, None without one; a field of type int is a whole number. Raises MalformedMessage."""
    group = fields.get(name)
    if group is None:
        return None
    if type(group) is not dict:
        raise MalformedMessage(messages.INVALID_SAMPLE.format(f"{name} é {_excerpt(group)}, esperava um objeto"))
    types = kind.__annotations__
    return kind(*(_value(name, group.get(field), types[field]) for field in kind._fields))


def _value(name: str, value: Any, kind: type) -> float:
    number = _number(name, value, _MAX_BYTES - 1025)  # the highest float below it
    return int(number) if kind is int else number


def _percentages(cores: tuple[Any, ...]) -> tuple[float, ...]:
    if not 1 <= len(cores) <= messages.MAX_CORES:
        text = f"cpu tem {len(cores)} núcleos, esperava de 1 a {messages.MAX_CORES}"
        raise MalformedMessage(messages.INVALID_SAMPLE.format(text))
    return tuple(_number("cpu", core, 100) for core in cores)


def _number(name: str, value: Any, high: float = 1e9) -> float:
    """Return a number from 0 to `high`. Raises MalformedMessage."""
    if (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high
    ):  # nan is not between any
        raise MalformedMessage(
            messages.INVALID_SAMPLE.format(f"{name} é {_excerpt(value)}, esperava um número de 0 a {high:g}")
        )
    return value
