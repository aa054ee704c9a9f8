"""The state of hosts and units on standard output: one screen of text, or JSON lines."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from frota.logs.log import printable
from frota.observer.status.folding import fold
from frota.observer.status.query import Host, Unit

_GREEN, _RED, _YELLOW, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
_MIN_COLUMNS, _MIN_NAME_COLUMNS = 80, 12
_HEADINGS = ("HOST", "UNIT", "STATE", "SINCE", "RESTARTS", "MEMORY")
_DETAIL_INDENT = 4
_NO_UNITS = "no unit of the fleet; run site.yml, or make up"


class Style(NamedTuple):
    """How text is shown: columns, and whether in colour and with characters beyond ASCII."""

    columns: int
    colour: bool
    unicode: bool

    def mark(self, well: bool) -> str:
        """Return the mark of what is well or not, in its colour."""
        text = ("\u2714" if well else "\u2718") if self.unicode else ("+" if well else "x")
        return self.paint(text, _GREEN if well else _RED)

    def paint(self, text: str, colour: str) -> str:
        """Return text in a colour."""
        return f"{colour}{text}{_PLAIN}" if self.colour else text


def terminal_style() -> Style:
    """Return the style of standard output."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    columns = shutil.get_terminal_size((_MIN_COLUMNS, 24)).columns
    return Style(max(columns, _MIN_COLUMNS), terminal and not os.environ.get("NO_COLOR"), encoding == "utf8")


def print_json(hosts: Iterable[Host]) -> None:
    """Print an object for each unit, and one for each host that failed. JSON escapes what could control a terminal."""
    for host in hosts:
        for unit in host.units:
            print(json.dumps(_fields(host, unit)))
        if host.failure or not host.units:
            print(json.dumps({"host": host.name, "well": False, "error": host.failure or _NO_UNITS}))


def _fields(host: Host, unit: Unit) -> dict[str, object]:
    error = unit.error and {"time": _iso(unit.error.time), "message": unit.error.message}
    return {
        "host": host.name,
        "unit": unit.name,
        "well": unit.well,
        "state": unit.state,
        "sub_state": unit.sub_state,
        "since": None if unit.since is None else _iso(unit.since),
        "release": host.release if unit.name.startswith(("frota-", "embedded-aws")) else "",
        "restarts": unit.restarts,
        "memory_bytes": unit.memory,
        "result": unit.result,
        "exit_status": unit.exit_status,
        "last_error": error,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def lines(hosts: Sequence[Host], style: Style) -> Iterator[str]:
    """Yield the lines of the text."""
    rows = [(host, unit) for host in hosts for unit in fold(host.units)]
    cells = [_cells(host, unit) for host, unit in rows]
    widths = _widths([*cells, *((host.name,) for host in hosts)], style.columns)
    yield "  " + _joined(_HEADINGS, widths)
    former = ""
    for host in hosts:
        if host.failure or not host.units:
            name = _shortened(printable(host.name), widths[0]).ljust(widths[0])
            yield f"{style.mark(False)} {name}  {style.paint(printable(host.failure or _NO_UNITS), _RED)}"
        for unit in fold(host.units):
            name, *rest = _cells(host, unit)
            yield f"{style.mark(unit.well)} {_joined(['' if name == former else name, *rest], widths)}"
            former = name
            yield from _details(host, unit, style)
    yield from _summary(hosts, style)


def _cells(host: Host, unit: Unit) -> tuple[str, ...]:
    state = unit.state if unit.well else unit.sub_state or unit.state
    memory = "" if unit.memory is None else f"{unit.memory / 2**20:.0f} MB"
    texts = (host.name, unit.name.removeprefix("frota-"), state, _age(host, unit.since), str(unit.restarts), memory)
    return tuple(map(printable, texts))


def _widths(rows: Iterable[Sequence[str]], columns: int) -> list[int]:
    """Return the width of each column; names are shortened where the lines would be longer than the terminal's."""
    widths = [len(heading) for heading in _HEADINGS]
    for row in rows:
        widths[: len(row)] = [max(width, len(text)) for width, text in zip(widths, row, strict=False)]
    excess = 2 + sum(widths) + 2 * (len(widths) - 1) - columns
    for _ in range(excess):
        wider = 0 if widths[0] >= widths[1] else 1
        widths[wider] = max(widths[wider] - 1, _MIN_NAME_COLUMNS)
    return widths


def _joined(texts: Sequence[str], widths: Sequence[int]) -> str:
    left = [_shortened(text, width).ljust(width) for text, width in zip(texts[:3], widths[:3], strict=True)]
    right = [text.rjust(width) for text, width in zip(texts[3:], widths[3:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def _shortened(text: str, width: int) -> str:
    """Return a text without its middle if it is too long: names of instances differ at their end."""
    if len(text) <= width:
        return text
    end = (width - 2) // 2
    return f"{text[: width - 2 - end]}..{text[len(text) - end :]}"


def _details(host: Host, unit: Unit, style: Style) -> Iterator[str]:
    """Yield why a unit does not run, and its last error of the last 24 hours."""
    room = style.columns - _DETAIL_INDENT
    if not unit.well:
        text = f"{unit.state}, {unit.result or 'unknown result'}, exit status {unit.exit_status}"
        yield " " * _DETAIL_INDENT + style.paint(printable(text)[:room], _RED)
    if unit.error:
        message = printable(unit.error.message.strip().partition("\n")[0])
        text = f"{_age(host, int(unit.error.time))} ago: {message}"
        yield " " * _DETAIL_INDENT + style.paint(text[:room], _YELLOW)


def _summary(hosts: Sequence[Host], style: Style) -> Iterator[str]:
    """Yield the releases, each with its hosts if there are several, and how many units run."""
    releases: dict[str, list[str]] = {}
    for host in hosts:
        if any(unit.name.startswith("frota-") for unit in host.units):
            releases.setdefault(host.release or "none", []).append(host.name)
    several = len(releases) > 1
    for release, names in sorted(releases.items(), key=lambda item: -len(item[1])):
        count = f"{len(names)} host" if len(names) == 1 else f"{len(names)} hosts"
        where = ", ".join(names) if several and len(names) <= len(hosts) / 2 else count
        yield f"release {printable(release)}: {printable(where)}"
    units = [unit for host in hosts for unit in host.units]
    running, responded = sum(unit.well for unit in units), sum(not host.failure for host in hosts)
    text = f"{running} of {len(units)} units run, {responded} of {len(hosts)} hosts responded"
    yield style.paint(text, _GREEN if all(host.well for host in hosts) else _RED)


def _age(host: Host, since: int | None) -> str:
    """Return how long ago a time was by the host's own clock, in its two greatest units."""
    if since is None:
        return "-"
    seconds = max(0, int((host.now or time.time()) - since))
    for size, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{name}{seconds % size // smaller}{small_name}"
    return f"{seconds}s"
