"""What is drawn: every line fits, whatever the hosts are and however wide the screen is."""

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from frota.cpu.viewer import gauges
from frota.cpu.viewer.details import details, help_text
from frota.cpu.viewer.gauges import Glyphs
from frota.cpu.viewer.host_list import HostList
from frota.cpu.viewer.host_status import Host
from frota.cpu.viewer.rows import Rows, Server, listing
from support.viewer import host

SERVER = Server("10.0.0.1", 5001)
CORES = st.sampled_from([0, 1, 2, 8, 9, 16, 64, 100, 129, 4096])
ANYTHING = st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=3)
GLYPHS = st.sampled_from([gauges.UNICODE, gauges.ASCII])


def hosts_of(*hosts: dict[str, Any], **options: Any) -> HostList:
    result = HostList(**options)
    result.update([Host(fields, b"") for fields in hosts])
    return result


def listed(
    *hosts: dict[str, Any], width: int = 80, glyphs: Glyphs = gauges.UNICODE, server: Server = SERVER, **options: Any
) -> list[str]:
    lines = listing(hosts_of(*hosts, **options), server, "12:34:56", width, glyphs)
    return [line.plain for line in lines]


def shown_details(fields: dict[str, Any], width: int = 80) -> str:
    return details(Host(fields, b""), width, gauges.UNICODE).plain


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


@given(st.lists(hosts(), max_size=6), st.integers(1, 260), GLYPHS, st.booleans(), st.text(max_size=200))
def test_lines_fit_and_are_printable(
    some: list[dict[str, Any]], width: int, glyphs: Glyphs, with_cores: bool, filter_text: str
) -> None:
    """Of any hosts, no printed line is wider than the screen, and no text has control characters."""
    rendered = hosts_of(*some)
    rows = Rows(rendered.shown, width, glyphs, cores=with_cores)
    printed = listing(hosts_of(*some, filter_text=filter_text), SERVER, "12:34:56", width, glyphs)
    printed += listing(rendered, SERVER, "12:34:56", width, glyphs)
    assert all(cell_len(line.plain) <= width for line in printed)
    texts = [line.plain for line in printed]
    for row in rendered.shown:
        lines = rows.lines(row, selected=True)
        assert len(lines) == rows.height(row)
        texts += [line.plain for line in lines] + details(row, width, glyphs).plain.split("\n")
    for text in texts:
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
        assert glyphs is gauges.UNICODE or text.isascii()


@given(
    st.lists(CORES, min_size=1, max_size=30),
    st.integers(0, 29),
    st.integers(0, 40),
    st.sampled_from([(80, 22), (200, 47), (80, 4), (120, 8)]),
)
def test_window_holds_the_selected_host(cores: list[int], index: int, first: int, size: tuple[int, int]) -> None:
    """The window has the selected host and as many whole neighbours as fit."""
    rendered = hosts_of(*(host(f"h{number:02}e", max(count, 1)) for number, count in enumerate(cores))).shown
    index = min(index, len(rendered) - 1)
    rows = Rows(rendered, size[0], gauges.UNICODE)
    window = rows.window(rendered, index, first, size[1])
    height = sum(rows.height(rendered[number]) for number in window)
    assert index in window
    assert height <= max(size[1], rows.height(rendered[index]))
    outside = [number for number in (window.start - 1, window.stop) if 0 <= number < len(rendered)]
    assert not outside or min(height + rows.height(rendered[number]) for number in outside[-1:]) > size[1]
    assert window.start <= max(first, index)


def test_64_cores_on_80_columns() -> None:
    """On 80 columns a host is two lines, and its 64 cores are one row of blocks."""
    first, second, cores = listed(host("web-1", 64))[1:4]
    assert first.startswith("  web-1    ● up ")
    assert "mem  50%  disk  25% r1.2M w340K  net ↓2.0M ↑1.0K load 0.10 0.20 0.30" in second
    assert cores.startswith("  64x ")
    assert len([block for block in cores if block in gauges.UNICODE.levels]) == 64


def test_block_height() -> None:
    """The height of a block is the load of the core."""
    percents = [0.0, 12.4, 12.6, 50.0, 99.9, 100.0, None]
    assert "".join(gauges.level(percent, gauges.UNICODE) for percent in percents) == "▁▁▂▅██ "


def test_few_cores_are_bars() -> None:
    """Few cores are bars with their percentages."""
    cores = listed(host("a", 8))[3]
    assert cores.split()[0] == "8x"
    assert [word for word in cores.split() if word.isdigit()] == ["0", "7", "15", "22", "29", "36", "44", "51"]
    assert gauges.bar(50, 4, gauges.UNICODE).plain == "██··"
    assert gauges.bar(56.25, 4, gauges.UNICODE).plain == "██▎·"
    assert gauges.bar(None, 4, gauges.ASCII).plain == "...."


def test_thousands_of_cores() -> None:
    """Of thousands of cores, a block is the busiest of several."""
    fields = host("big", 4096)
    fields["sample"]["cpu"] = [0.0] * 4095 + [100.0]
    first, second = listed(fields)[3:5]
    assert first.startswith("  4096x ▁")
    assert second.startswith("    /32 ▁")
    assert (first + second).count("█") == 1
    assert second.endswith("█")


def test_wide_screen() -> None:
    """On a wide screen a host is one line under titles."""
    titles, line, _ = listed(host("web-1", 64, missing=3, over=["cpu"]), width=200)[1:4]
    assert " ".join(titles.split()) == "HOST STATE CPU LAST MEANS MEM DISK READ WRITE IN OUT LOAD 1 5 15 LOST OVER"
    assert " ".join(line.split()).endswith(" 25% 1.2M 340K 2.0M 1.0K 0.10 0.20 0.30 3 ▲ cpu")
    assert titles.index("MEM") + 3 == line.index("50%") + 3


def test_titles_are_whole_or_shorter() -> None:
    """A title that does not fit is replaced by a shorter one."""
    titles = set()
    for width in range(150, 220):
        title = listed(host("a" * 40, 64, over=["cpu", "memory"]), width=width)[1]
        titles.add(re.search(r"CPU\s+(.*?)\s+MEM", title)[1])  # type: ignore[index]
    assert titles - {""} == {"MEANS", "LAST MEANS"}


def test_states_are_words_with_age() -> None:
    """Stale and away hosts are counted, and have the age of their last sample."""
    lines = listed(host("a"), host("b", state="stale", age=23.9), host("c", state="away", age=7300.0))
    assert lines[0] == "frota cpu top  10.0.0.1:5001  1 connected  1 stale  1 away  12:34:56  by name"
    assert "◐ stale 23s" in lines[4]
    assert "○ away 2h" in lines[7]


def test_old_values_are_dimmed() -> None:
    """The values of a host that is away are dimmed, its state is not."""

    def dimmed(line: Text) -> list[str]:
        return [line.plain[span.start : span.end] for span in line.spans if span.style == "dim"]

    lines = listing(hosts_of(host("a"), host("b", state="away")), SERVER, "", 80, gauges.UNICODE)
    assert not any("%" in text for text in dimmed(lines[1]))
    assert any("%" in text and "away" not in text for text in dimmed(lines[4]))


def test_alerts_and_lost_samples() -> None:
    """Metrics above their thresholds and lost samples are marked."""
    lines = listed(host("a", over=["cpu", "memory"], missing=1234))
    assert lines[1].endswith(" ▲ cpu memory")
    assert lines[2].endswith(" lost 1234")


@pytest.mark.parametrize(("width", "line"), [(80, 1), (200, 2)])
def test_name_conflict(width: int, line: int) -> None:
    """A name that two agents use is marked, and the details say what to do."""
    fields = host("a", over=["cpu"], name_conflicts=["10.0.0.2:5", "[::1]:6", "\x1b[2J", 5])
    assert listed(fields, host("b", name_conflicts="x"), width=width)[line].endswith(" ▲ cpu name")
    text = "▲ also 10.0.0.2:5, [::1]:6, \\x1b[2J, ? is called a, and not shown: give one of them another name"
    assert f"{text} (CPU_NAME, --name)" in shown_details(fields)


def test_legacy_agent_has_dashes() -> None:
    """What a legacy agent does not measure is a dash."""
    fields = host("10.0.0.7", dialect="original")
    fields["sample"] = {"cpu": [50.0], "mean": 50.0}
    assert listed(fields)[2] == "  mem    -  disk    - r-    w-     net ↓-    ↑-    load    -    -    -"


def test_long_names_are_cut() -> None:
    """A long name is cut with a mark."""
    assert listed(host("x" * 200))[1].startswith("  " + "x" * 19 + "… ● up")
    assert listed(host("x" * 200), glyphs=gauges.ASCII)[1].startswith("  " + "x" * 19 + "~ + up")


def test_without_hosts() -> None:
    """Without a host, the command that starts an agent is shown, with an address that other computers reach."""
    assert "frota cpu agent --host 10.0.0.1 --port 5001" in listed()
    assert "frota cpu agent --host SERVER --port 5001" in listed(server=Server("127.0.0.1", 5001))


def test_filter_without_match() -> None:
    """A filter that no host matches is named."""
    lines = listed(host("a"), filter_text="z")
    assert lines[0].startswith("frota cpu top  10.0.0.1:5001  0 of 1 host with 'z'  0 connected")
    assert lines[2] == "No host's name has 'z' in it."


@pytest.mark.parametrize("cores", [1, 8, 64])
def test_details(cores: int) -> None:
    """The details have every core with its number, and all values with their units."""
    text = shown_details(host("web-1", cores, missing=3))
    assert text.splitlines()[0] == "web-1  ● connected"
    assert text.count("%") == cores + 3
    for part in (
        "memory    50.0% ████████········ 4.0 GiB used of 16 GiB, 8.0 GiB available",
        "25 GiB of 100 GiB, r 1.2 MiB/s, w 340 KiB/s",
        "received 2.0 MiB/s, sent 1.0 KiB/s, 0.00 dropped/s, 0.50 errors/s",
        "native, from 10.0.1.5:43210, 12.5 s of CPU and 14 MiB of memory used",
        "first 2026-01-31T12:00:00.000Z, last 2026-01-31T13:00:00.000Z",
        "17280 received, 3 missing, 0 duplicate; last 1.2 s ago, every 5 s",
    ):
        assert part in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_help_explains_the_marks() -> None:
    """The help explains the marks with the characters that the terminal shows."""
    assert "▲: metrics above their thresholds" in help_text(gauges.UNICODE).plain
    assert help_text(gauges.ASCII).plain.isascii()


@given(st.floats(0, 1e18) | st.integers(0, 10**18))
def test_short_numbers_are_short(value: float) -> None:
    """Short numbers have 1 to 4 characters."""
    for text in (gauges.size(value), gauges.short(value), gauges.duration(value)):
        assert 1 <= len(text) <= 4


def test_short_numbers() -> None:
    """Short numbers have units, and decimals where there is room."""
    assert [gauges.size(value) for value in (None, 0, 999, 1000, 1024, 10_239, 1_258_291, 1e18)] == (
        ["-", "0", "999", "1.0K", "1.0K", "10K", "1.2M", "888P"]
    )
    assert [gauges.duration(value) for value in (None, 0.5, 59.9, 60, 3600, 200_000, 1e18)] == (
        ["-", "0s", "59s", "1m", "1h", "2d", "999d"]
    )
    assert [gauges.short(value) for value in (None, 3, 0.125, 12.34, 123.4, 12345)] == (
        ["-", "3", "0.12", "12.3", "123", ">10k"]
    )
