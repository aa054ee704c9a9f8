"""Timelines on standard output, as text or as JSON lines."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from frota.logs.log import printable
from frota.observer.journal import Record
from frota.observer.trace.timeline import Hop, Recent, span_ms

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_HEADINGS = ("time", "took ms", "host", "unit", "event", "message")
_RIGHT = {"took ms"}  # columns that are aligned to the right


def print_json(hops: Iterable[Hop], trace: str) -> None:
    """Print an object for each hop. JSON escapes what could control a terminal."""
    for hop in hops:
        took = None if hop.took_ms is None else round(hop.took_ms, 3)
        print(json.dumps({"trace_id": trace, **_fields(hop.record), "took_ms": took, "slowest": hop.slowest}))


def print_recent_json(traces: Iterable[Recent]) -> None:
    """Print an object for each trace, with the fields of its newest record."""
    for trace, record in traces:
        print(json.dumps({"trace_id": trace, **_fields(record)}))


def print_timeline(hops: Sequence[Hop], trace: str, origin: str) -> None:
    """Print a heading, a line for each hop, and which one was the slowest."""
    hosts = len({hop.record.host for hop in hops})
    print(
        f"trace {trace}: {_count(len(hops), 'record')} of {_count(hosts, 'host')} in {span_ms(hops):.3f} ms, {origin}"
    )
    bold = sys.stdout.isatty()
    rows = [(*_moment(hop.record), _ms(hop.took_ms), *_texts(hop.record)) for hop in hops]
    for line, hop in zip(_lines(rows), (None, *hops), strict=True):
        if hop and hop.slowest:
            print(f"{_BOLD}> {line}{_PLAIN}" if bold else f"> {line}")
        else:
            print(f"  {line}")
    for hop in hops:
        if hop.slowest:
            record = hop.record
            text = (
                f"slowest: {_ms(hop.took_ms)} ms until {record.event or 'a record'} of {record.unit} on {record.host}"
            )
            print(printable(text))


def print_recent(traces: Sequence[Recent]) -> None:
    """Print a line for each trace, with its newest record."""
    rows = [(*_moment(record), trace, *_texts(record)) for trace, record in traces]
    for line in _lines(rows, ("time", "trace id", *_HEADINGS[2:])) if rows else ():
        print(line)


def _fields(record: Record) -> dict[str, object]:
    return {
        "time": datetime.fromtimestamp(record.time_us / 1e6, UTC).isoformat(timespec="microseconds"),
        "host": record.host,
        "unit": record.unit,
        "system": record.system,
        "event": record.event,
        "priority": record.priority,
        "message": record.message,
        "duration_ms": record.duration_ms,
        "fields": record.fields,
    }


def _moment(record: Record) -> tuple[str, str]:
    """Return the date and the time of day in this host's time zone."""
    moment = datetime.fromtimestamp(record.time_us / 1e6, UTC).astimezone()
    return moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M:%S.%f")


def _texts(record: Record) -> tuple[str, ...]:
    duration = "" if record.duration_ms is None else f"  ({record.duration_ms:.3f} ms by the service)"
    return record.host, record.unit, record.event, record.message + duration


def _lines(rows: Iterable[tuple[str, ...]], headings: Sequence[str] = _HEADINGS) -> Iterator[str]:
    """Yield a heading and a line for each row, in columns as wide as needed; the date is shown where it changes."""
    escaped = [tuple(map(printable, row)) for row in rows]
    dates, cells = [row[0] for row in escaped], [tuple(headings), *(row[1:] for row in escaped)]
    widths = [max(map(len, column)) for column in list(zip(*cells, strict=True))[:-1]]
    former = ""
    for date, row in zip(("", *dates), cells, strict=True):
        padded = [
            text.rjust(width) if heading in _RIGHT else text.ljust(width)
            for heading, text, width in zip(headings, row, widths, strict=False)
        ]
        new_day = f"{date}  " if date != former else " " * 12
        former = date
        yield new_day + "  ".join([*padded, row[-1]]).rstrip()


def _ms(duration: float | None) -> str:
    return "" if duration is None else f"{duration:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
