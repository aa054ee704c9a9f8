"""Records of the journal as `journalctl --output=json` prints them (systemd.io/JOURNAL_EXPORT_FORMATS). No I/O.

Every text is untrusted: it is bounded here, and shown as text, never as HTML.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

FIELDS = (
    "MESSAGE", "PRIORITY", "FROTA_SYSTEM", "FROTA_EVENT", "TRACE_ID", "PEER", "DURATION_MS", "SYSLOG_IDENTIFIER",
    "_SYSTEMD_UNIT", "_HOSTNAME", "_SOURCE_REALTIME_TIMESTAMP",
)  # fmt: skip
MAX_MESSAGE_CHARACTERS = 4000
_MAX_FIELD_CHARACTERS = 200
_MAX_TRACES = 100  # of one record
_TRACE = re.compile("[0-9a-f]{32}")


def is_trace(text: object) -> bool:
    """Tell whether a text is a trace id."""
    return isinstance(text, str) and _TRACE.fullmatch(text) is not None


@dataclass(frozen=True)
class Record:
    """A record; `time_us` is µs since 1970, `priority` that of syslog(3), 0 to 7."""

    time_us: int
    host: str
    unit: str
    system: str
    priority: int
    event: str
    message: str
    traces: tuple[str, ...]
    peer: str
    duration_ms: float | None

    @cached_property
    def text(self) -> str:
        """What a search for text looks at."""
        return f"{self.message}\n{self.event}\n{self.peer}\n{' '.join(self.traces)}".casefold()

    @cached_property
    def shown(self) -> dict[str, Any]:
        """The JSON object for the page; empty values are omitted."""
        fields = {
            "time": self.time_us / 1000, "host": self.host, "unit": self.unit, "system": self.system,
            "priority": self.priority, "event": self.event, "message": self.message, "traces": self.traces,
            "peer": self.peer, "duration": self.duration_ms,
        }  # fmt: skip
        return {name: value for name, value in fields.items() if value not in ("", (), None)}


@dataclass(frozen=True)
class Filter:
    """Which records a viewer sees; empty texts select all, `trace` selects the records of one trace."""

    host: str = ""
    unit: str = ""
    priority: int = 7
    text: str = ""
    trace: str = ""

    def selects(self, record: Record) -> bool:
        """Tell whether a record matches."""
        return (
            record.priority <= self.priority
            and (not self.host or record.host == self.host)
            and (not self.unit or record.unit == self.unit)
            and (not self.trace or self.trace in record.traces)
            and (not self.text or self.text.casefold() in record.text)
        )


def parse(line: bytes) -> Record | None:
    """Parse a line of JSON; None for one that is no record."""
    try:
        fields = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    time_us = _integer(fields.get("_SOURCE_REALTIME_TIMESTAMP")) or _integer(fields.get("__REALTIME_TIMESTAMP"))
    priority = _integer(fields.get("PRIORITY", "6"))
    return Record(
        time_us or 0,
        _short(fields, "_HOSTNAME"),
        _short(fields, "SYSLOG_IDENTIFIER") or _short(fields, "_SYSTEMD_UNIT").removesuffix(".service"),
        _short(fields, "FROTA_SYSTEM"),
        6 if priority is None else min(priority, 7),
        _short(fields, "FROTA_EVENT"),
        _first(fields.get("MESSAGE"))[:MAX_MESSAGE_CHARACTERS],
        tuple(text for text in _texts(fields.get("TRACE_ID"))[:_MAX_TRACES] if is_trace(text)),
        _short(fields, "PEER"),
        _number(fields.get("DURATION_MS")),
    )


def _texts(value: object) -> list[str]:
    """Return the values of a field: a text, a list of texts, or, for what is no UTF-8, a list of bytes."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return []
    if all(type(item) is int and 0 <= item < 256 for item in value):
        return [bytes(value).decode(errors="replace")]
    return [text for item in value for text in ([item] if isinstance(item, str) else _texts(item))]


def _first(value: object) -> str:
    return next(iter(_texts(value)), "")


def _short(fields: dict[str, Any], name: str) -> str:
    return _first(fields.get(name))[:_MAX_FIELD_CHARACTERS]


def _integer(value: object) -> int | None:
    text = _first(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _number(value: object) -> float | None:
    text = _first(value)
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text) else None
