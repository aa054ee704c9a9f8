"""Bars, lines and short numbers, each of a width that is known before it is drawn."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

_UNITS = ("", "K", "M", "G", "T", "P", "E")
_GROUP = 8  # cores between two gaps


class Glyphs(NamedTuple):
    """The characters that a terminal can show, each one column wide."""

    levels: str  # from idle to busy
    parts: str  # of a full character, in equal steps
    full: str
    empty: str
    cut: str
    over: str
    falling: str
    rising: str
    into: str
    out: str
    states: dict[str, str]


UNICODE = Glyphs(
    "▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉", "█", "·", "…", "▲", "↓", "↑", "↓", "↑", {"connected": "●", "stale": "◐", "away": "○"}
)
ASCII = Glyphs(
    ".:-=+*#@", "", "#", ".", "~", "!", "v", "^", "<", ">", {"connected": "+", "stale": "!", "away": "x"}
)  # fmt: skip


class Marks(NamedTuple):
    """How a row of cores is drawn: in so many rows, each mark standing for so many cores, the busiest of them."""

    rows: int
    in_row: int
    cores: int


def colour(share: float | None) -> str:
    """Return the style of a percentage."""
    if share is None:
        return "dim"
    return "bold red" if share >= 85 else "yellow" if share >= 60 else "green"


def bar(share: float | None, width: int, glyphs: Glyphs) -> Text:
    """Return a horizontal bar."""
    steps = len(glyphs.parts) + 1
    whole, rest = divmod(round((share or 0) / 100 * width * steps), steps)
    text = glyphs.full * whole + (glyphs.parts[rest - 1] if rest else "")
    return Text(text, style=colour(share)).append(glyphs.empty * (width - len(text)), style="dim")


def line(shares: Sequence[float | None], width: int, glyphs: Glyphs) -> Text:
    """Return the last of a series as a line of blocks, the newest at the right."""
    found = Text()
    for share in shares[max(len(shares) - width, 0) :] if width > 0 else ():
        found.append(level(share, glyphs), style=colour(share))
    found.pad_left(width - len(found))
    return found


def level(share: float | None, glyphs: Glyphs) -> str:
    """Return one block."""
    if share is None:
        return " "
    return glyphs.levels[min(int(share / 100 * len(glyphs.levels)), len(glyphs.levels) - 1)]


def marks(count: int, width: int, most_rows: int = 2) -> Marks:
    """Return how so many cores are drawn in so many columns."""
    room = max(_GROUP * ((width + 1) // (_GROUP + 1)), min(width, _GROUP), 1)  # a gap behind each group
    cores = max(math.ceil(count / (room * most_rows)), 1)
    marks_count = math.ceil(count / cores)
    rows = max(math.ceil(marks_count / room), 1)
    in_row = math.ceil(marks_count / rows)
    return Marks(rows, min(math.ceil(in_row / _GROUP) * _GROUP, room), cores)


def blocks(shares: Sequence[float | None], layout: Marks, glyphs: Glyphs) -> list[Text]:
    """Return a block for each core, in rows."""
    busiest = [
        max((one for one in shares[first : first + layout.cores] if one is not None), default=None)
        for first in range(0, len(shares), layout.cores)
    ]
    rows = []
    for first in range(0, len(busiest), layout.in_row):
        row = Text()
        for place, share in enumerate(busiest[first : first + layout.in_row]):
            row.append(" " if place and place % _GROUP == 0 else "")
            row.append(level(share, glyphs), style=colour(share))
        rows.append(row)
    return rows


def size(value: float | None) -> str:
    """Return bytes in at most 4 characters, in units of 1024."""
    if value is None:
        return "-"
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f}{unit}" if not unit or value >= 9.95 else f"{value:.1f}{unit}"


def whole(share: float | None) -> str:
    """Return a percentage in at most 4 characters."""
    return "-" if share is None else f"{share:.0f}%"


def tenths(share: float | None) -> str:
    """Return a percentage in at most 6 characters."""
    return "-" if share is None else f"{share:.1f}%"


def short(value: float | None) -> str:
    """Return a load or a count in at most 4 characters."""
    if value is None:
        return "-"
    if isinstance(value, int) or value >= 99.95:
        return f"{value:.0f}" if value < 9999.5 else ">10k"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Return a time in at most 4 characters, up to years."""
    if seconds is None:
        return "-"
    for unit, length in (("s", 60), ("m", 60), ("h", 48)):
        if seconds < length:
            return f"{int(seconds)}{unit}"
        seconds /= 60 if unit != "h" else 24
    return f"{min(int(seconds), 999)}d"
