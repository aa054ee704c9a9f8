"""The full-screen application: what keys do, and what the screen shows."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rich.style import Style
from textual.pilot import Pilot

from frota.cpu.viewer import gauges
from frota.cpu.viewer.app import TopApp
from frota.cpu.viewer.host_list import HostList
from frota.cpu.viewer.host_status import Host
from frota.cpu.viewer.poller import Poller, Response
from frota.cpu.viewer.rows import Server
from support import TIMEOUT_S
from support.viewer import host

Test = Callable[[], Coroutine[Any, Any, None]]


class FakePoller(Poller):
    """Has the responses and the trouble that a test gives it."""

    def __init__(self, hosts: list[dict[str, Any]]) -> None:
        self.text = ""
        self.respond(*hosts)

    def respond(self, *hosts: dict[str, Any]) -> None:
        """Take a new response."""
        self.response = Response([Host(fields, b"") for fields in hosts], time.monotonic(), "12:34:56")

    def start(self, notify: Callable[[], object]) -> None:
        """Keep how the application is notified."""
        self.notify = notify

    def trouble(self) -> str:
        """Return what the test has set."""
        return self.text


class Top:
    """The application with its keyboard and screen."""

    def __init__(self, app: TopApp, poller: FakePoller, pilot: Pilot[None]) -> None:
        self.app, self.poller, self.pilot = app, poller, pilot

    async def press(self, *keys: str) -> list[str]:
        """Press keys, and return the screen."""
        await self.pilot.press(*keys)
        return await self.screen()

    async def screen(self) -> list[str]:
        """Return the lines on the screen."""
        await self.pilot.pause()
        await self.pilot.pause()
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    async def respond(self, *hosts: dict[str, Any]) -> list[str]:
        """Let the server send other hosts."""
        self.poller.respond(*hosts)
        self.poller.notify()
        return await self.screen()

    async def styles(self, text: str) -> list[Style]:
        """Return the styles of the first line with a text."""
        await self.screen()
        strips = self.app.screen._compositor.render_strips()
        line = next(strip for strip in strips if text in strip.text)
        return [segment.style or Style() for segment in line if segment.text.strip()]


@asynccontextmanager
async def running(
    *hosts: dict[str, Any], size: tuple[int, int] = (80, 24), glyphs: gauges.Glyphs = gauges.UNICODE, **options: Any
) -> AsyncIterator[Top]:
    poller = FakePoller(list(hosts))
    app = TopApp(poller, HostList(**options), Server("10.0.0.1", 5001), glyphs)
    async with app.run_test(size=size) as pilot:
        yield Top(app, poller, pilot)


def in_loop(test: Test) -> Callable[[], None]:
    """Run an asynchronous test."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), TIMEOUT_S))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def names(screen: list[str]) -> list[str]:
    return re.findall(r"(?m)^[> ] (\S+) .*[●◐○]", "\n".join(screen))


@in_loop
async def test_list_fills_the_screen() -> None:
    """The summary is the first line, the keys and the place in the list are the last, hosts are between."""
    async with running(host("web-1", 64), host("db-1", 8)) as top:
        screen = await top.screen()
    assert len(screen) == 24
    assert screen[0] == "frota cpu top  10.0.0.1:5001  2 connected  12:34:56  by name"
    assert screen[1].startswith("> db-1     ● up")
    assert re.fullmatch(r"  64x [▁▂▃▄▅▆▇█ ]{71}", screen[6])
    assert re.fullmatch("q quit  . help  s sort  r reverse  / filter  c cores  Enter details +1/2", screen[-1])


@in_loop
async def test_keys_sort_reverse_and_hide_cores() -> None:
    """s sorts by the next key, r reverses the order, c hides and shows the cores."""
    async with running(host("a", 2), host("b", 9)) as top:
        assert names(await top.press("s")) == ["b", "a"]
        assert "by cpu, reversed" in (await top.press("r"))[0]
        assert not re.search(r"\dx ", "\n".join(await top.press("c")))
        assert re.search(r" 9x ", "\n".join(await top.press("c")))


@in_loop
async def test_list_scrolls_by_whole_hosts() -> None:
    """The list scrolls only as far as needed, and never shows a part of a host."""
    async with running(*(host(f"h{number:02}", 128) for number in range(12))) as top:
        first = ["h00", "h01", "h02", "h03", "h04"]
        assert names(await top.press("down", "down", "up")) == names(await top.press(*["down"] * 3)) == first
        assert names(await top.press("down")) == ["h01", "h02", "h03", "h04", "h05"]
        assert names(await top.press(*["up"] * 4)) == ["h01", "h02", "h03", "h04", "h05"]
        assert names(await top.press("up")) == first
        assert names(await top.press("pagedown", "pagedown")) == ["h06", "h07", "h08", "h09", "h10"]
        screen = await top.press("end")
        assert names(screen) == ["h07", "h08", "h09", "h10", "h11"]
        assert screen[-1].endswith(" 12/12")
        assert names(await top.press("home")) == first


@in_loop
async def test_filter_applies_while_typed() -> None:
    """The filter applies to each letter; Enter keeps it, Esc restores the former one."""
    async with running(host("web-1"), host("web-2"), host("db-1")) as top:
        screen = await top.press("slash", *"Web")
        assert names(screen) == ["web-1", "web-2"]
        assert screen[-1].startswith("filter: Web ")
        assert "2 of 3 hosts with 'Web'" in (await top.press("q", "backspace", "enter"))[0]
        screen = await top.press("slash", *"zz")
        assert "No host's name has 'Webzz' in it." in screen
        assert names(await top.press("escape")) == ["web-1", "web-2"]
        await top.press("slash", "é", *["backspace"] * 9, "enter")
        assert names(await top.screen()) == ["db-1", "web-1", "web-2"]


@in_loop
async def test_interrupt_works_while_filter_is_typed() -> None:
    """Ctrl+C ends the application with 130, also while the filter has the focus."""
    async with running(host("a")) as top:
        await top.press("slash", "a", "ctrl+c")
        await top.pilot.pause()
        assert top.app.return_code == 130


@in_loop
async def test_q_quits_from_each_page() -> None:
    """Q ends the application with 0, also from the help."""
    async with running(host("a")) as top:
        await top.press("question_mark", "q")
        assert top.app._exit
        assert top.app.return_code == 0


@in_loop
async def test_details_follow_their_host() -> None:
    """The details stay with their host, and give way to the list when the server has forgotten it."""
    async with running(host("a"), host("b")) as top:
        assert (await top.press("enter"))[1] == "a  ● connected"
        screen = await top.respond(host("0"), host("a", state="stale"))
        assert screen[1] == "a  ◐ stale"
        assert names(await top.respond(host("0"))) == ["0"]


@in_loop
async def test_pages_open_and_close() -> None:
    """Enter opens the details, Enter and Esc close them; ? opens and closes the help."""
    async with running(host("a")) as top:
        pages = [(await top.press(key))[1][:8] for key in ("enter", "enter", "enter", "escape")]
        assert pages == ["a  ● con", "> a     ", "a  ● con", "> a     "]
        assert "this help" in "\n".join(await top.press("question_mark"))
        assert (await top.press("question_mark"))[1].startswith("> a ")
        screen = await top.press("enter", "question_mark")
        assert "this help" in "\n".join(screen)
        assert screen[-1].split("1/1")[0].rstrip() == "q quit  ? help  Esc back"
        assert (await top.press("escape"))[1].startswith("> a ")


@in_loop
async def test_details_scroll() -> None:
    """Details that do not fit scroll to their last line and no further."""
    async with running(host("web-1", 200)) as top:
        assert (await top.press("enter"))[2].startswith("cpu")
        await top.press(*["pagedown"] * 9)
        await top.pilot.wait_for_animation()
        assert (await top.screen())[-2].lstrip().startswith("195 ")
        assert (await top.respond(host("web-1", 200)))[-2].lstrip().startswith("195 ")


@in_loop
async def test_no_host_opens_no_details() -> None:
    """Without a host the screen says how to start an agent, and Enter does nothing."""
    async with running() as top:
        assert "frota cpu agent --host 10.0.0.1 --port 5001" in await top.press("enter", "down", "end")


@in_loop
async def test_trouble_dims_the_list() -> None:
    """While the server is unavailable a line says so, and the last known list is dimmed."""
    async with running(host("web-1")) as top:
        assert not all(style.dim for style in await top.styles("web-1"))
        top.poller.text = "no answer from 10.0.0.1:5001 for 12 s: trying again \x1b[2J"
        top.poller.notify()
        screen = await top.screen()
        assert screen[1] == "▲ no answer from 10.0.0.1:5001 for 12 s: trying again \\x1b[2J"
        assert screen[2].startswith("> web-1 ")
        assert all(style.dim for style in await top.styles("web-1"))
        top.poller.text = ""
        assert (await top.respond(host("new")))[1].startswith("> new ")


@in_loop
async def test_resize_draws_for_the_new_size() -> None:
    """A wider terminal gets one line per host under titles, a tiny one is filled without an error."""
    async with running(host("web-1", 64)) as top:
        await top.pilot.resize_terminal(200, 50)
        screen = await top.screen()
        assert screen[1].startswith("  HOST ")
        assert len(screen) == 50
        await top.press("enter")
        for size in ((20, 5), (1, 1), (80, 24)):
            await top.pilot.resize_terminal(*size)
        assert (await top.press("escape"))[1].startswith("> web-1 ")


@in_loop
async def test_untrusted_names_are_plain_text() -> None:
    """Names cannot inject control sequences or markup, in the list, the details and the summary."""
    bad = ["[red]x[/red]", "\x1b[2J\x1b]0;x\x07", "[@click=app.quit]y[/]", "a\u202eb"]
    async with running(*(host(name, over=[name], name_conflicts=[name]) for name in bad), filter_text="") as top:
        screens = await top.screen()
        for _ in bad:
            screens += await top.press("enter")
            screens += await top.press("enter", "down")
    text = "\n".join(screens)
    for escaped in ("[red]x[/red]", r"\x1b[2J\x1b]0;x\x07", "[@click=app.quit]y[/", r"a\u202eb"):
        assert escaped in text
    assert "".join(screens).isprintable()


@pytest.mark.parametrize("page", ["list", "details", "help", "filter"])
def test_ascii_terminal_gets_ascii(page: str) -> None:
    """A terminal without UTF-8 gets nothing but ASCII, on each page."""
    keys = {"list": [], "details": ["enter"], "help": ["question_mark"], "filter": ["slash", "a"]}[page]

    async def test() -> None:
        async with running(host("a", 64), glyphs=gauges.ASCII) as top:
            top.poller.text = "no answer: ção"
            assert "".join(await top.press(*keys)).isascii()

    asyncio.run(test())
