"""The screen as lines of text, drawn from what is known. No I/O: the same lines are printed once, shown, and tested."""

import textwrap
from typing import NamedTuple

from rich.text import Text

from frota.cpu_metrics.viewer import pages
from frota.cpu_metrics.viewer.gauges import UNICODE
from frota.cpu_metrics.viewer.host_status import STATES, safe
from frota.cpu_metrics.viewer.rows import Rows, Screen
from frota.cpu_metrics.viewer.view import KEYS, View
from frota.logs.log import printable
from frota.net.addresses import endpoint

_ADVICE = (
    "No host has sent anything yet. On each computer that is to be shown, start an agent:",
    "frota cpu agent --host {host} --port {port}",
)
_LOCAL = ("127.0.0.1", "localhost", "::1")


class News(NamedTuple):
    """What is known of the server: its address, when it answered last, what is the matter with it, if anything."""

    host: str
    port: int
    time: str = ""
    trouble: str = ""

    @property
    def where(self) -> str:
        """The address in one text."""
        return endpoint(safe(self.host), self.port)


def frame(view: View, news: News, screen: Screen) -> list[Text]:
    """Return what fills the screen; the view is moved so that what is selected is to be seen."""
    top = [_head(view, news)]
    if news.trouble:
        sentence = printable(news.trouble) if screen.glyphs is UNICODE else safe(news.trouble)
        top.append(Text(f"{screen.glyphs.over} {sentence}", style="bold red reverse"))
    body = screen._replace(height=screen.height - len(top) - 1)
    if view.page:
        lines = _page(view, body)
    elif view.shown:
        rows = Rows(view.shown, screen, cores=view.cores)
        top += rows.titles()
        lines = _list(view, rows, screen.height - len(top) - 1)
    else:
        lines = _nothing(view, news, screen.width)
    if news.trouble:
        for line in lines:
            line.stylize("dim")
    height = max(screen.height - len(top) - 1, 0)
    lines = (lines + [Text() for _ in range(height)])[:height]
    return _fitting([*top, *lines, _foot(view, screen)][: max(screen.height, 1)], screen.width)


def listing(view: View, news: News, screen: Screen) -> list[Text]:
    """Return the whole list, however long it is."""
    rows = Rows(view.shown, screen, cores=view.cores)
    lines = [_head(view, news), *(rows.titles() if view.shown else _nothing(view, news, screen.width))]
    for host in view.shown:
        lines += rows.of(host)
    return _fitting(lines, screen.width)


def _fitting(lines: list[Text], width: int) -> list[Text]:
    for line in lines:
        line.truncate(max(width, 1), overflow="crop")
        line.rstrip()
    return lines


def _head(view: View, news: News) -> Text:
    counts = [(sum(host.state == state for host in view.shown), state) for state in STATES]
    hosts = f"{view.known} host{'' if view.known == 1 else 's'}"
    parts = [news.where, *(f"{count} {state}" for count, state in counts if count or state == STATES[0])]
    if len(view.shown) != view.known:
        parts.insert(1, f"{len(view.shown)} of {hosts} with {safe(view.wanted)!r}")
    parts += [news.time, f"by {view.sort}{', reversed' if view.reverse else ''}"]
    return Text("frota cpu top  ", style="bold").append("  ".join(filter(None, parts)))


def _foot(view: View, screen: Screen) -> Text:
    if view.typing is not None:
        text = f"filter: {safe(view.wanted)}_   Enter keeps it, Esc takes the one before"
        return Text(text, style="reverse")
    keys = [(key, text) for key, text in KEYS if not view.page or key in "q?"]
    foot = Text()
    for key, text in keys if not view.page else [*keys, ("Esc", "back")]:
        foot.append(key, style="bold").append(f" {text}  ", style="dim")
    if view.shown and not view.page:
        place = f"{view.index + 1}/{len(view.shown)}"
        foot.pad_right(screen.width - len(foot) - len(place))
        foot.append(place)
    return foot


def _page(view: View, screen: Screen) -> list[Text]:
    if view.page == "details" and view.selected:
        lines = pages.details(view.selected, screen.width, screen.glyphs)
    else:
        lines = pages.help_page(screen.width, screen.glyphs)
    view.fits = max(screen.height, 1)
    view.first = max(min(view.first, len(lines) - view.fits), 0)
    return lines[view.first : view.first + view.fits]


def _list(view: View, rows: Rows, height: int) -> list[Text]:
    view.first, view.fits = _window(view, rows, height)
    lines: list[Text] = []
    for host in view.shown[view.first : view.first + view.fits]:
        lines += rows.of(host, selected=host is view.selected)
    return lines


def _window(view: View, rows: Rows, height: int) -> tuple[int, int]:
    """Return the first host on the screen, and how many there are: as few steps as possible from where it was."""
    first = last = view.index
    left = height - rows.height(view.shown[first])
    # Upwards as far as the screen began before, downwards as far as there is room, then upwards with what is left.
    for stop in (min(view.first, view.index), 0):
        while first > stop and (more := rows.height(view.shown[first - 1])) <= left:
            first, left = first - 1, left - more
        while last + 1 < len(view.shown) and (more := rows.height(view.shown[last + 1])) <= left:
            last, left = last + 1, left - more
        if last + 1 < len(view.shown):
            break
    return first, last - first + 1


def _nothing(view: View, news: News, width: int) -> list[Text]:
    if view.known:
        text = [f"No host's name has {safe(view.wanted)!r} in it."]
    elif not news.time:
        text = ["Asking the server ..."]
    else:
        host = "SERVER" if news.host in _LOCAL else safe(news.host)
        text = [part.format(host=host, port=news.port) for part in _ADVICE]
    return [Text(), *(Text(line) for part in text for line in textwrap.wrap(part, max(width, 1)))]
