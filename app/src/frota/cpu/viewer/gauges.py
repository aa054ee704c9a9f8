"""Bars, blocks and short numbers, each of a known width."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from rich.text import Text

_UNITS = ("", "K", "M", "G", "T", "P", "E")
_GROUP_CORES = 8  # between two gaps
_HIGH_PERCENT, _MEDIUM_PERCENT = 85, 60


class Glyphs(NamedTuple):
    """The characters that a terminal can show, each one column wide."""

    levels: str  # from idle to busy
    parts: str  # of a full character, in equal steps
    full: str
    empty: str
    cut: str
    alert: str
    received: str
    sent: str
    states: dict[str, str]


UNICODE = Glyphs("▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉", "█", "·", "…", "▲", "↓", "↑", {"connected": "●", "stale": "◐", "away": "○"})
ASCII = Glyphs(".:-=+*#@", "", "#", ".", "~", "!", "<", ">", {"connected": "+", "stale": "!", "away": "x"})


class CoreLayout(NamedTuple):
    """How many cores are drawn as blocks: the rows, and what each row and block holds."""

    rows: int
    blocks_per_row: int
    cores_per_block: int


def colour(percent: float | None) -> str:
    """Return the style of a percentage."""
    if percent is None:
        return "dim"
    return "bold red" if percent >= _HIGH_PERCENT else "yellow" if percent >= _MEDIUM_PERCENT else "green"


def bar(percent: float | None, width: int, glyphs: Glyphs) -> Text:
    """Return a horizontal bar."""
    steps = len(glyphs.parts) + 1
    whole, rest = divmod(round((percent or 0) / 100 * width * steps), steps)
    text = glyphs.full * whole + (glyphs.parts[rest - 1] if rest else "")
    return Text(text, style=colour(percent)).append(glyphs.empty * (width - len(text)), style="dim")


def history(percents: Sequence[float | None], width: int, glyphs: Glyphs) -> Text:
    """Return the last percentages as a line of blocks, the newest at the right."""
    last = percents[max(len(percents) - width, 0) :] if width > 0 else ()
    text = _blocks(last, glyphs)
    text.pad_left(width - len(text))
    return text


def level(percent: float | None, glyphs: Glyphs) -> str:
    """Return one block."""
    if percent is None:
        return " "
    return glyphs.levels[min(int(percent / 100 * len(glyphs.levels)), len(glyphs.levels) - 1)]


def core_layout(count: int, width: int, max_rows: int = 2) -> CoreLayout:
    """Return how `count` cores are drawn in `width` columns."""
    columns = max(_GROUP_CORES * ((width + 1) // (_GROUP_CORES + 1)), min(width, _GROUP_CORES), 1)  # a gap per group
    cores_per_block = max(math.ceil(count / (columns * max_rows)), 1)
    blocks = math.ceil(count / cores_per_block)
    rows = max(math.ceil(blocks / columns), 1)
    per_row = math.ceil(math.ceil(blocks / rows) / _GROUP_CORES) * _GROUP_CORES
    return CoreLayout(rows, min(per_row, columns), cores_per_block)


def core_blocks(cores: Sequence[float | None], layout: CoreLayout, glyphs: Glyphs) -> list[Text]:
    """Return rows of blocks, each the busiest of its cores."""
    size = layout.cores_per_block
    busiest = [
        max((core for core in cores[first : first + size] if core is not None), default=None)
        for first in range(0, len(cores), size)
    ]
    rows = []
    for start in range(0, len(busiest), layout.blocks_per_row):
        row = busiest[start : start + layout.blocks_per_row]
        groups = [_blocks(row[first : first + _GROUP_CORES], glyphs) for first in range(0, len(row), _GROUP_CORES)]
        rows.append(Text(" ").join(groups))
    return rows


def _blocks(percents: Sequence[float | None], glyphs: Glyphs) -> Text:
    """Return a block for each percentage; neighbours of one style are one piece of text."""
    text = Text()
    for style, group in groupby(percents, colour):
        text.append("".join(level(percent, glyphs) for percent in group), style=style)
    return text


def size(value: float | None) -> str:
    """Return a number of bytes in at most 4 characters, in units of 1024."""
    if value is None:
        return "-"
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f}{unit}" if not unit or value >= 9.95 else f"{value:.1f}{unit}"


def whole(percent: float | None) -> str:
    """Return a percentage in at most 4 characters."""
    return "-" if percent is None else f"{percent:.0f}%"


def tenths(percent: float | None) -> str:
    """Return a percentage in at most 6 characters."""
    return "-" if percent is None else f"{percent:.1f}%"


def short(value: float | None) -> str:
    """Return a load or a count in at most 4 characters."""
    if value is None:
        return "-"
    if isinstance(value, int) or value >= 99.95:
        return f"{value:.0f}" if value < 9999.5 else ">10k"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Return a duration in at most 4 characters, in s, m, h or d."""
    if seconds is None:
        return "-"
    for unit, length in (("s", 60), ("m", 60), ("h", 48)):
        if seconds < length:
            return f"{int(seconds)}{unit}"
        seconds /= 60 if unit != "h" else 24
    return f"{min(int(seconds), 999)}d"
