"""The pages behind the list: all of one host, and the help."""

import textwrap
from collections.abc import Iterator

from rich.text import Text

from frota.cpu_metrics.viewer import gauges
from frota.cpu_metrics.viewer.gauges import Glyphs
from frota.cpu_metrics.viewer.host_status import Host, disk_share, memory_share

_COUNTS = (("samples", "received"), ("missing", "missing"), ("duplicates", "came twice"))
_CELL = 15  # columns of a core at the least: its number, a bar, its percentage
_KEYS = """\
Up, Down, PgUp, PgDn, Home, End   select a host
Enter   details of the selected host; Enter or Esc: back to the list
s       sort by the next key: name, cpu, memory, disk, network, state
r       reverse the order
/       show only the hosts with a text in their names; Enter keeps it, Esc takes the one before
c       show or hide the cores
?       this help
q       quit"""
_MEANINGS = """\
{connected} connected   {stale} stale: connected, but no sample for three intervals   {away} away: not connected
The time behind stale and away is how long ago the last sample was taken.
mem: what programs cannot get any more of the memory; disk: what is used of the root filesystem
r, w: read from and written to all disks; {into}, {out}: received from and sent to the network, in bytes a second
lost: samples that never came; {over}: metrics that are over their thresholds; name: another agent has that name, too
64x and a row of blocks: one block a core, from idle {idle} to busy {busy}; /4: a block for four cores, the busiest"""


def help_page(width: int, glyphs: Glyphs) -> list[Text]:
    """Return what keys and marks mean."""
    names = {**glyphs.states, "into": glyphs.into, "out": glyphs.out, "over": glyphs.over}
    meanings = _MEANINGS.format(**names, idle=glyphs.levels[0], busy=glyphs.levels[-1])
    lines = ["", *_KEYS.splitlines(), "", *meanings.splitlines()]
    return [Text(part) for line in lines for part in textwrap.wrap(line, max(width, 1)) or [""]]


def details(host: Host, width: int, glyphs: Glyphs) -> list[Text]:
    """Return all that is known of a host."""
    lines = [
        Text(host.name, style="bold").append(f"  {glyphs.states.get(host.state, '?')} {host.state}"),
        *_measured(host, width, glyphs),
        *_told(host),
        *_cores(host, width, glyphs),
    ]
    if host.over:
        lines[0].append(f"  {glyphs.over} over its threshold: {', '.join(host.over)}", style="bold red")
    if host.rivals:
        text = f"{glyphs.over} also {', '.join(host.rivals)} is called {host.name}, and not shown:"
        text += " give one of them another name (CPU_NAME, --name)"
        lines[1:1] = [Text(part, style="bold red") for part in textwrap.wrap(text, max(width, 1))]
    return lines


def _measured(host: Host, width: int, glyphs: Glyphs) -> Iterator[Text]:
    bar, memory, disk, network = min(max(width // 5, 4), 40), host.memory, host.disk, host.network
    cpu = _gauge("cpu", host.mean, bar, glyphs)
    yield cpu.append(gauges.line(host.means, min(60, width - len(cpu)), glyphs))
    text = ""
    if memory:
        text = f"{_bytes(memory.used)} used of {_bytes(memory.total)}, {_bytes(memory.available)} available"
    yield _gauge("memory", memory_share(memory), bar, glyphs).append(text)
    if disk:
        text = f"{_bytes(disk.used)} of {_bytes(disk.total)}, r {_bytes(disk.read)}/s, w {_bytes(disk.write)}/s"
    yield _gauge("disk", disk_share(disk), bar, glyphs).append(text if disk else "")
    if network:
        text = f"received {_bytes(network.received)}/s, sent {_bytes(network.sent)}/s, "
        text += f"{gauges.short(float(network.drops))} dropped/s, {gauges.short(float(network.errors))} wrong/s"
    yield _named("network", text if network else "-")
    yield _named("load", "  ".join(gauges.short(float(one)) for one in host.load or ()) or "-")


def _told(host: Host) -> Iterator[Text]:
    own = host.own
    cost = f", cost {own.cpu:.1f} s of CPU, {_bytes(own.memory)} of memory" if own else ""
    yield _named("agent", f"{host.text('dialect')}, from {host.text('peer') or '-'}{cost}")
    yield _named("seen", f"first {host.text('first_seen')}, last {host.text('last_seen')}")
    age, interval = host.count("age"), host.count("interval")
    counts = ", ".join(f"{_count(host, name)} {text}" for name, text in _COUNTS)
    times = f"last {'-' if age is None else f'{age:.1f}'} s ago, every {'-' if interval is None else f'{interval:g}'} s"
    yield _named("samples", f"{counts}; {times}")


def _cores(host: Host, width: int, glyphs: Glyphs) -> Iterator[Text]:
    cores = host.cores
    digits = len(str(max(len(cores) - 1, 0)))
    columns = max((width + 1) // (max(_CELL, digits + 12) + 1), 1)
    cell = min((width + 1) // columns - 1, 30)
    for first in range(0, len(cores), columns):
        row = Text()
        for place, core in enumerate(cores[first : first + columns], first):
            row.append(f"{place:>{digits}} ", style="dim")
            row.append(gauges.bar(core, max(cell - digits - 8, 1), glyphs)).append(f" {gauges.tenths(core):>6} ")
        yield row


def _gauge(name: str, share: float | None, width: int, glyphs: Glyphs) -> Text:
    return _named(name, f"{gauges.tenths(share):>6} ").append(gauges.bar(share, width, glyphs)).append(" ")


def _named(name: str, text: str) -> Text:
    return Text(f"{name:<8} ", style="dim").append(text, style="not dim")


def _bytes(value: float) -> str:
    text = gauges.size(value)
    return f"{text[:-1]} {text[-1]}iB" if text[-1].isalpha() else f"{text} B"


def _count(host: Host, name: str) -> str:
    found = host.count(name)
    return "-" if found is None else f"{found:.0f}"
