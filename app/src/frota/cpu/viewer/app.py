"""The full-screen list of hosts: a Textual application."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.actions import parse
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input, Static

from frota.cpu.viewer.details import details, help_text
from frota.cpu.viewer.driver import TerminalDriver
from frota.cpu.viewer.gauges import UNICODE, Glyphs
from frota.cpu.viewer.host_list import HostList
from frota.cpu.viewer.host_status import safe
from frota.cpu.viewer.poller import Poller
from frota.cpu.viewer.rows import Rows, Server, no_hosts, summary
from frota.logs.log import printable

_KEYS = (
    ("q", "quit", "quit", "q"),
    ("question_mark", "show_page('help')", "help", "?"),
    ("s", "change('sort')", "sort", "s"),
    ("r", "change('reverse')", "reverse", "r"),
    ("slash", "filter('edit')", "filter", "/"),
    ("c", "change('cores')", "cores", "c"),
    ("enter", "show_page('details')", "details", "Enter"),
    ("escape,enter", "show_page('list')", "back", "Esc"),
)
_MOVES = ("up", "down", "pageup", "pagedown", "home", "end")
_ALWAYS = ("interrupt", "suspend_process")


class HostTable(Widget):
    """Lines of text, drawn without Textual's layout: most of them change with each response."""

    def __init__(self, draw: Callable[[Size], Sequence[Text]]) -> None:
        super().__init__(id="list")
        self._draw = draw
        self._lines: Sequence[Text] = ()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Redraw all lines for the current size of the screen."""
        self._lines = self._draw(self.size)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        line = self._lines[y] if y < len(self._lines) else Text()
        return Strip(line.render(self.app.console)).adjust_cell_length(self.size.width, self.rich_style)


class TopApp(App[None]):
    """The list, or a host's details, or the help, between a summary and the keys."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary, #foot, #filter { height: 1; }
    #summary, #keys { text-wrap: nowrap; width: 1fr; }
    #trouble { max-height: 2; text-style: bold reverse; color: ansi_red; }
    ContentSwitcher, Input { width: 1fr; height: 1fr; }
    VerticalScroll { scrollbar-size: 0 0; }
    #position, #filter Static { width: auto; }
    #filter { display: none; text-style: reverse; }
    """
    BINDINGS: ClassVar = [  # with priority: a key finds the state that the key before has left
        *(Binding(key, action, priority=True) for key, action, _, _ in _KEYS),
        *(Binding(key, f"move('{key}')", priority=True) for key in _MOVES),
        Binding("escape", "filter('restore')", priority=True),
        Binding("ctrl+c", "interrupt", priority=True),
        Binding("ctrl+z", "suspend_process", priority=True),
    ]

    def __init__(self, poller: Poller, hosts: HostList, server: Server, glyphs: Glyphs) -> None:
        super().__init__(driver_class=TerminalDriver, ansi_color=True)
        self.theme = "ansi-dark"  # nothing but the terminal's own colours
        self._poller, self._hosts, self._server, self._glyphs = poller, hosts, server, glyphs
        self._page = "list"
        self._with_cores = True
        self._window = range(1)  # of the hosts that fit on the screen
        self._details_of = ""  # the host's name
        self._is_filtering = False
        self._former_filter = ""

    def compose(self) -> ComposeResult:
        """Yield the parts of the screen."""
        yield Static(id="summary")
        yield Static(id="trouble", markup=False)
        with ContentSwitcher(initial="list"):
            yield HostTable(self._list_lines)
            yield VerticalScroll(Static(), id="details")
            yield VerticalScroll(Static(help_text(self._glyphs)), id="help")
        with Horizontal(id="foot"):
            yield Static(id="keys")
            yield Static(id="position")
        with Horizontal(id="filter"):
            yield Static("filter: ")
            yield Input(compact=True, restrict="[ -~]*", max_length=60, select_on_focus=False)
            yield Static("Enter keeps it, Esc restores the former one")

    def on_mount(self) -> None:
        """Show the first response, and start polling."""
        loop = asyncio.get_running_loop()
        self._poller.start(lambda: loop.call_soon_threadsafe(self._take_response))
        self.set_interval(1.0, self._check_every_second)
        self._take_response()

    def on_resize(self) -> None:
        """Draw for the new size, once all parts have theirs."""
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Draw all that may have changed."""
        if not self.query("#summary"):  # the application is ending
            return
        hosts, trouble = self._hosts, self._poller.trouble()
        self.query_one("#summary", Static).update(summary(hosts, self._server, self._poller.response.clock))
        banner = self.query_one("#trouble", Static)
        banner.display = bool(trouble)
        banner.update(f"{self._glyphs.alert} {printable(trouble) if self._glyphs is UNICODE else safe(trouble)}")
        self.query_one("#keys", Static).update(self._key_line())
        self.query_one("#position", Static).update(f" {hosts.index + 1}/{len(hosts.shown)}" if hosts.shown else "")
        self.query_one(HostTable).refresh()
        if self._page == "details":
            self._draw_details()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Tell which keys work on the page that is shown."""
        if action in _ALWAYS or self._is_filtering or parameters == ("restore",):
            return action in _ALWAYS or (self._is_filtering and parameters == ("restore",))
        if parameters == ("list",):
            return self._page != "list"
        return self._page == "list" or action == "quit" or parameters == ("help",)

    def action_show_page(self, page: str) -> None:
        """Show the list, the help, or the selected host's details; the help a second time is the list."""
        if page == "details" and not self._hosts.selected:
            return
        self._page = "list" if page == self._page else page
        if self._hosts.selected and page == "details":
            self._hosts.select(self._hosts.index, pinned=True)
            self._details_of = self._hosts.selected.name
        self.query_one(ContentSwitcher).current = self._page
        shown = self.query_one(f"#{self._page}")
        shown.scroll_home(animate=False)
        self.screen.set_focus(shown if self._page != "list" else None)
        self.draw()

    def action_move(self, key: str) -> None:
        """Select another host."""
        index, page = self._hosts.index, len(self._window)
        indexes = {"up": index - 1, "down": index + 1, "pageup": index - page, "pagedown": index + page, "home": 0}
        self._hosts.select(indexes.get(key, len(self._hosts.shown)))
        self.draw()

    def action_change(self, what: str) -> None:
        """Sort by the next key, reverse the order, or show or hide the cores."""
        if what == "sort":
            self._hosts.sort_by_next()
        elif what == "reverse":
            self._hosts.reverse = not self._hosts.reverse
        else:
            self._with_cores = not self._with_cores
        self._arrange()

    def action_filter(self, step: str) -> None:
        """Let the user edit the filter, keep what was typed, or restore the former one."""
        if step == "edit":
            self._former_filter = self._hosts.filter_text
        elif step == "restore":
            self._hosts.filter_text = self._former_filter
        self._is_filtering = step == "edit"
        self.query_one("#foot").display = not self._is_filtering
        self.query_one("#filter").display = self._is_filtering
        field = self.query_one(Input)
        field.value = self._hosts.filter_text
        self.screen.set_focus(field if self._is_filtering else None)
        self._arrange()

    def action_interrupt(self) -> None:
        """End with the status of an interrupted command."""
        self.exit(return_code=130)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter by what the user has typed so far."""
        self._hosts.filter_text = event.value
        self._arrange()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self.action_filter("keep")

    def _arrange(self) -> None:
        self._hosts.arrange()
        self.draw()

    def _list_lines(self, size: Size) -> list[Text]:
        hosts = self._hosts
        if hosts.shown:
            rows = Rows(hosts.shown, size.width, self._glyphs, cores=self._with_cores)
            lines = rows.titles()
            self._window = rows.window(hosts.shown, hosts.index, self._window.start, size.height - len(lines))
            for index in self._window:
                lines += rows.lines(hosts.shown[index], selected=index == hosts.index)
        else:
            lines = no_hosts(hosts, self._server, size.width)
        if self._poller.trouble():
            for line in lines:
                line.stylize("dim")
        return lines

    def _key_line(self) -> Text:
        line = Text(style="dim")
        for _, action, text, name in _KEYS:
            if self.check_action(*parse(action)[1:]):
                line.append(name, style="bold not dim").append(f" {text}  ")
        return line

    def _draw_details(self) -> None:
        host = self._hosts.selected
        if host and host.name == self._details_of:
            self.query_one("#details Static", Static).update(details(host, self.size.width, self._glyphs))
        else:  # the server has forgotten it
            self.action_show_page("list")

    def _take_response(self) -> None:
        self._hosts.update(self._poller.response.hosts)
        self.draw()

    def _check_every_second(self) -> None:
        if not (self.is_headless or os.isatty(0)):  # the terminal is gone
            self.exit()
        elif self._poller.trouble():
            self.draw()
