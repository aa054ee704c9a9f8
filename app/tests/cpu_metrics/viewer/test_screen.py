"""What is drawn: every line fits, whatever the hosts are and however large the screen is."""

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from frota.cpu_metrics.viewer import gauges
from frota.cpu_metrics.viewer import screen as drawing
from frota.cpu_metrics.viewer.host_status import Host
from frota.cpu_metrics.viewer.rows import Screen
from frota.cpu_metrics.viewer.screen import News
from frota.cpu_metrics.viewer.view import View
from support.viewer import host

NEWS = News("10.0.0.1", 5001, "12:34:56")
CORES = st.sampled_from([0, 1, 2, 8, 9, 16, 64, 100, 129, 4096])
ANYTHING = st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=3)
KEYS = ["up", "down", "page up", "page down", "home", "end", "enter", "escape", "s", "r", "c", "?", "/", "w", "q"]


def view_of(*hosts: dict[str, Any], **options: Any) -> View:
    view = View(**options)
    view.take([Host(fields, b"") for fields in hosts])
    return view


def drawn(view: View, width: int = 80, height: int = 24, news: News = NEWS, glyphs: Any = gauges.UNICODE) -> list[str]:
    return [line.plain for line in drawing.frame(view, news, Screen(width, height, glyphs))]


@st.composite
def hosts(draw: st.DrawFn) -> dict[str, Any]:
    cores = draw(CORES)
    fields = host(draw(st.text(max_size=300)), max(cores, 1))
    fields["sample"]["cpu"] = fields["sample"]["cpu"][:cores]
    fields["means"] = draw(st.lists(st.floats(), max_size=60))
    fields["state"] = draw(st.sampled_from(["connected", "stale", "away", "\x1b[2J"]))
    fields["over"] = draw(st.lists(st.sampled_from(["cpu", "memory", "disk"]) | st.text(max_size=30), max_size=4))
    fields["missing"], fields["age"] = draw(st.integers() | ANYTHING), draw(st.floats() | ANYTHING)
    for part in ("memory", "disk", "network", "load", "own"):
        values = fields["sample"][part]
        if draw(st.booleans()):
            fields["sample"][part] = draw(ANYTHING)
        elif isinstance(values, dict):
            fields["sample"][part] = {name: draw(st.integers() | st.floats()) for name in values}
    return fields if draw(st.integers(0, 9)) else fields | {"sample": draw(ANYTHING)}


@given(
    st.lists(hosts(), max_size=6),
    st.lists(st.sampled_from(KEYS), max_size=8),
    st.builds(Screen, st.integers(1, 260), st.integers(1, 60), st.sampled_from([gauges.UNICODE, gauges.ASCII])),
    st.text(max_size=200),
)
def test_no_line_is_wider_than_the_screen_and_none_can_be_obeyed(
    some: list[dict[str, Any]], keys: list[str], screen: Screen, trouble: str
) -> None:
    view = view_of(*some)
    for key in keys:
        view.press(key)
    news = NEWS._replace(trouble=trouble)
    frame = drawn(view, *screen[:2], news, screen.glyphs)
    assert len(frame) == screen.height
    for line in [*frame, *(line.plain for line in drawing.listing(view, news, screen))]:
        assert cell_len(line) <= screen.width
        assert not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in line)
        assert screen.glyphs is gauges.UNICODE or line.isascii()


@given(
    st.lists(CORES, min_size=1, max_size=30),
    st.lists(st.sampled_from([*KEYS[:6], "c"]), max_size=12),
    st.sampled_from([(80, 24), (200, 50), (80, 6), (120, 10)]),
)
def test_wherever_one_goes_the_selected_host_is_on_the_screen(
    cores: list[int], keys: list[str], size: tuple[int, int]
) -> None:
    view = view_of(*(host(f"h{number:02}e", max(count, 1)) for number, count in enumerate(cores)))
    frame = drawn(view, *size)
    for key in keys:
        view.press(key)
        frame = drawn(view, *size)
    selected = view.selected
    assert selected
    assert sum(line.startswith("> ") for line in frame) == 1
    assert any(line.startswith(f"> {selected.name}") for line in frame)
    assert frame[-1].endswith(f" {view.index + 1}/{len(cores)}")


def test_the_list_moves_only_as_far_as_it_must_and_a_host_is_never_shown_in_part() -> None:
    view = view_of(*(host(f"h{number:02}", 128) for number in range(12)))

    def names(*keys: str) -> list[str]:
        for key in keys:
            view.press(key)
        return re.findall(r"h\d\d", "\n".join(drawn(view)[1:-1]))

    assert names() == names("down", "down", "up") == names(*["down"] * 3) == ["h00", "h01", "h02", "h03", "h04"]
    assert names("down") == names("up", "up", "up", "up") == ["h01", "h02", "h03", "h04", "h05"]
    assert names("up") == ["h00", "h01", "h02", "h03", "h04"]
    assert names("page down", "page down") == ["h06", "h07", "h08", "h09", "h10"]
    assert names("end") == ["h07", "h08", "h09", "h10", "h11"]
    assert [line[:6] for line in drawn(view)[3:5]] == ["  128x", "      "]
    assert names("home") == ["h00", "h01", "h02", "h03", "h04"]


def test_64_cores_are_one_row_of_blocks_on_80_columns() -> None:
    summary, more, cores = drawn(view_of(host("web-1", 64)), 80, 24)[1:4]
    assert summary.startswith("> web-1    ● up ")
    assert "mem  50%  disk  25% r1.2M w340K  net ↓2.0M ↑1.0K load 0.10 0.20 0.30" in more
    assert cores.startswith("  64x ")
    assert len([one for one in cores if one in gauges.UNICODE.levels]) == 64


def test_the_height_of_a_block_says_how_busy_a_core_is() -> None:
    shares = [0.0, 12.4, 12.6, 50.0, 99.9, 100.0, None]
    assert "".join(gauges.level(share, gauges.UNICODE) for share in shares) == "▁▁▂▅██ "


def test_few_cores_are_bars_with_their_numbers() -> None:
    cores = drawn(view_of(host("a", 8)), 80, 24)[3]
    assert cores.split()[0] == "8x"
    assert [word for word in cores.split() if word.isdigit()] == ["0", "7", "15", "22", "29", "36", "44", "51"]
    assert gauges.bar(50, 4, gauges.UNICODE).plain == "██··"
    assert gauges.bar(56.25, 4, gauges.UNICODE).plain == "██▎·"
    assert gauges.bar(None, 4, gauges.ASCII).plain == "...."


def test_of_thousands_of_cores_each_block_is_the_busiest_of_several() -> None:
    fields = host("big", 4096)
    fields["sample"]["cpu"] = [0.0] * 4095 + [100.0]
    first, second = drawn(view_of(fields), 80, 24)[3:5]
    assert first.startswith("  4096x ▁")
    assert second.startswith("    /32 ▁")
    assert (first + second).count("█") == 1
    assert second.endswith("█")


def test_on_a_wide_screen_a_host_is_one_line_under_titles() -> None:
    titles, line, _ = drawn(view_of(host("web-1", 64, missing=3, over=["cpu"])), 200, 50)[1:4]
    assert " ".join(titles.split()) == "HOST STATE CPU LAST MEANS MEM DISK READ WRITE IN OUT LOAD 1 5 15 LOST OVER"
    assert " ".join(line.split()).endswith(" 25% 1.2M 340K 2.0M 1.0K 0.10 0.20 0.30 3 ▲ cpu")
    assert titles.index("MEM") + 3 == line.index("50%") + 3


def test_a_title_is_whole_or_a_shorter_one_on_every_wide_screen() -> None:
    found = set()
    for width in range(150, 220):
        title = drawn(view_of(host("a" * 40, 64, over=["cpu", "memory"])), width, 50)[1]
        found.add(re.search(r"CPU\s+(.*?)\s+MEM", title)[1])  # type: ignore[index]
    assert found - {""} == {"MEANS", "LAST MEANS"}


def test_stale_and_away_are_told_in_words_with_the_age_and_counted() -> None:
    frame = drawn(view_of(host("a"), host("b", state="stale", age=23.9), host("c", state="away", age=7300.0)))
    assert frame[0] == "frota cpu top  10.0.0.1:5001  1 connected  1 stale  1 away  12:34:56  by name"
    assert "◐ stale 23s" in frame[4]
    assert "○ away 2h" in frame[7]


def test_what_was_last_heard_of_a_host_that_is_away_is_dimmed() -> None:
    view = view_of(host("a"), host("b", state="away"))
    frame = drawing.frame(view, NEWS, Screen(80, 24, gauges.UNICODE))
    dimmed = [[line.plain[span.start : span.end] for span in line.spans if span.style == "dim"] for line in frame]
    assert not any("%" in text for text in dimmed[1])
    assert any("%" in text and "away" not in text for text in dimmed[4])


def test_what_is_over_its_threshold_and_what_is_missing_is_marked() -> None:
    frame = drawn(view_of(host("a", over=["cpu", "memory"], missing=1234)))
    assert frame[1].endswith(" ▲ cpu memory")
    assert frame[2].endswith(" lost 1234")


@pytest.mark.parametrize(("columns", "place"), [(80, 1), (200, 2)])
def test_a_name_that_two_agents_have_is_marked_and_its_details_say_what_to_do(columns: int, place: int) -> None:
    rivals = ["10.0.0.2:5", "[::1]:6", "\x1b[2J", 5]
    view = view_of(host("a", over=["cpu"], name_conflicts=rivals), host("b", name_conflicts="x"))
    frame = drawn(view, columns, 24)
    assert frame[place].endswith(" ▲ cpu name")
    view.press("enter")
    text = " ".join(drawn(view, columns, 24)[2:5])
    assert "▲ also 10.0.0.2:5, [::1]:6, \\x1b[2J, ? is called a, and not shown: give one of them another name" in text
    assert "(CPU_NAME, --name)" in text


def test_an_original_agents_host_has_dashes_for_what_it_does_not_send() -> None:
    fields = host("10.0.0.7", dialect="original")
    fields["sample"] = {"cpu": [50.0], "mean": 50.0}
    assert drawn(view_of(fields))[2] == "  mem    -  disk    - r-    w-     net ↓-    ↑-    load    -    -    -"


def test_a_long_name_is_cut_with_a_mark() -> None:
    assert drawn(view_of(host("x" * 200)))[1].startswith("> " + "x" * 19 + "… ● up")
    assert drawn(view_of(host("x" * 200)), glyphs=gauges.ASCII)[1].startswith("> " + "x" * 19 + "~ + up")


def test_without_a_host_a_sentence_says_how_an_agent_is_started() -> None:
    assert "frota cpu agent --host 10.0.0.1 --port 5001" in drawn(view_of())
    assert "frota cpu agent --host SERVER --port 5001" in drawn(view_of(), news=NEWS._replace(host="127.0.0.1"))


def test_a_filter_that_fits_no_host_says_so() -> None:
    frame = drawn(view_of(host("a"), wanted="z"))
    assert frame[0].startswith("frota cpu top  10.0.0.1:5001  0 of 1 host with 'z'  0 connected")
    assert frame[2] == "No host's name has 'z' in it."


def test_when_the_server_is_gone_the_last_state_stays_dimmed_under_a_line_that_says_so() -> None:
    news = NEWS._replace(trouble="no answer from 10.0.0.1:5001 for 12 s: trying again")
    frame = drawing.frame(view_of(host("web-1")), news, Screen(80, 24, gauges.UNICODE))
    assert frame[1].plain == "▲ no answer from 10.0.0.1:5001 for 12 s: trying again"
    assert frame[2].plain.startswith("> web-1 ")
    assert all(any(span.style == "dim" for span in line.spans) for line in frame[2:5])
    calm = drawing.frame(view_of(host("web-1", over=["cpu"])), NEWS, Screen(80, 24, gauges.UNICODE))
    assert not any(span.style == "dim" and span.end > 20 and span.start == 0 for span in calm[1].spans)


@pytest.mark.parametrize("cores", [1, 8, 64])
def test_the_details_have_every_core_with_its_number(cores: int) -> None:
    view = view_of(host("web-1", cores, missing=3))
    view.press("enter")
    text = "\n".join(drawn(view))
    assert text.splitlines()[1] == "web-1  ● connected"
    assert text.count("%") == cores + 3
    for part in (
        "memory    50.0% ████████········ 4.0 GiB used of 16 GiB, 8.0 GiB available",
        "25 GiB of 100 GiB, r 1.2 MiB/s, w 340 KiB/s",
        "received 2.0 MiB/s, sent 1.0 KiB/s, 0.00 dropped/s, 0.50 wrong/s",
        "native, from 10.0.1.5:43210, cost 12.5 s of CPU, 14 MiB of memory",
        "first 2026-01-31T12:00:00.000Z, last 2026-01-31T13:00:00.000Z",
        "17280 received, 3 missing, 0 came twice; last 1.2 s ago, every 5 s",
    ):
        assert part in text


def test_details_that_are_longer_than_the_screen_are_scrolled_to_their_end_and_no_further() -> None:
    view = view_of(host("web-1", 200))
    view.press("enter")
    assert "cpu" in drawn(view)[2]
    for _ in range(9):
        view.press("page down")
        last = drawn(view)
    assert last[-2].lstrip().startswith("195 ")
    view.press("up")
    assert drawn(view)[2:-1] == drawn(view)[2:-1] != last[2:-1]


@given(st.floats(0, 1e18) | st.integers(0, 10**18))
def test_short_numbers_are_short(value: float) -> None:
    for text in (gauges.size(value), gauges.short(value), gauges.duration(value)):
        assert 1 <= len(text) <= 4


def test_short_numbers_say_what_they_stand_for() -> None:
    assert [gauges.size(value) for value in (None, 0, 999, 1000, 1024, 10_239, 1_258_291, 1e18)] == (
        ["-", "0", "999", "1.0K", "1.0K", "10K", "1.2M", "888P"]
    )
    assert [gauges.duration(value) for value in (None, 0.5, 59.9, 60, 3600, 200_000, 1e18)] == (
        ["-", "0s", "59s", "1m", "1h", "2d", "999d"]
    )
    assert [gauges.short(value) for value in (None, 3, 0.125, 12.34, 123.4, 12345)] == (
        ["-", "3", "0.12", "12.3", "123", ">10k"]
    )
