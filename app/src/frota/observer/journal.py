"""Records of systemd's journal: the call of `journalctl`, and its JSON. No I/O.

The format is systemd.io/JOURNAL_EXPORT_FORMATS: a field is text, an array of numbers if it is binary, and an array of
such values if the record has it several times. Values are untrusted: they are printed only after `printable`.
"""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_OWN_FIELDS = {"MESSAGE", "PRIORITY", "FROTA_SYSTEM", "FROTA_EVENT", "TRACE_ID", "DURATION_MS"}
_IDENTITY = ("_BOOT_ID", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP", "_PID", "FROTA_EVENT", "MESSAGE")
_DEFAULT_PRIORITY = 6


class Record(NamedTuple):
    """One record; `fields` are those that the service added, besides the ones that have a place here.

    `time_us`: when the service wrote it, by its host's clock, in µs since 1970. `unit` is without its suffix.
    `duration_ms`: how long the request took on this hop, if the service measured it.
    """

    time_us: int
    host: str
    unit: str
    priority: int
    system: str
    event: str
    message: str
    traces: tuple[str, ...]
    duration_ms: float | None
    fields: dict[str, str]
    identity: tuple[str, ...]  # the same for copies of the record


def journalctl(
    matches: Iterable[str], lines: int, directory: Path | None = None, *, newest_first: bool = False
) -> list[str]:
    """Return the command that prints the last records, at most `lines`, that match every field."""
    words = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", f"--lines={lines}"]
    words += ["--reverse"] if newest_first else []
    return [*words, *([f"--directory={directory}"] if directory else []), "--", *matches]


def parse(output: str, host: str = "") -> Iterator[Record]:
    """Yield the records in what journalctl printed; skip lines that are no records.

    `host` is the name of the host that it ran on; without it, each record's own field counts.
    """
    for line in output.split("\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and (record := _record(entry, host)):
            yield record


def _record(entry: dict[str, Any], host: str) -> Record | None:
    time = _first(entry, "_SOURCE_REALTIME_TIMESTAMP") or _first(entry, "__REALTIME_TIMESTAMP")
    if not (time.isascii() and time.isdecimal() and len(time) < 18):
        return None
    unit = _first(entry, "_SYSTEMD_UNIT") or _first(entry, "SYSLOG_IDENTIFIER")
    priority = _first(entry, "PRIORITY")
    return Record(
        int(time),
        host or _first(entry, "_HOSTNAME"),
        unit.removesuffix(".service"),
        int(priority) if priority in set("01234567") else _DEFAULT_PRIORITY,
        _first(entry, "FROTA_SYSTEM"),
        _first(entry, "FROTA_EVENT"),
        _first(entry, "MESSAGE"),
        tuple(values(entry.get("TRACE_ID"))),
        _milliseconds(_first(entry, "DURATION_MS")),
        {name: ", ".join(values(value)) for name, value in entry.items() if _is_added(name)},
        tuple(_first(entry, name) for name in _IDENTITY),
    )


def values(field: object) -> list[str]:
    """Return all values of a field as text; bytes that are no UTF-8 are replaced."""
    single = _text(field)
    if single is not None or not isinstance(field, list):
        return [] if single is None else [single]
    return [text for value in field if (text := _text(value)) is not None]


def _text(value: object) -> str | None:
    """Return one value as text, None if it is none."""
    if isinstance(value, list) and value and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, str) else None


def _first(entry: dict[str, Any], name: str) -> str:
    return next(iter(values(entry.get(name))), "")


def _is_added(name: str) -> bool:
    """Tell whether the service itself added a field; the others are the journal's."""
    return not name.startswith(("_", "SYSLOG_", "CODE_")) and name not in _OWN_FIELDS


def _milliseconds(text: str) -> float | None:
    try:
        duration = float(text)
    except ValueError:
        return None
    return duration if math.isfinite(duration) and duration >= 0 else None
