"""The pages beside the list: all that is known of one host, and the help. No I/O."""

from collections.abc import Iterator

from rich.text import Text

from frota.cpu.viewer import gauges
from frota.cpu.viewer.gauges import Glyphs
from frota.cpu.viewer.host_status import Host, disk_share, memory_share

_COUNTERS = (("samples", "received"), ("missing", "missing"), ("duplicates", "duplicate"))
_MIN_CORE_COLUMNS, _MAX_CORE_COLUMNS = 15, 30  # of a core: its number, a bar, its percentage
_HELP = """
Up, Down, PgUp, PgDn, Home, End   select a host
Enter   details of the selected host; Enter or Esc: back to the list
s       sort by the next key: name, cpu, memory, disk, network, state
r       reverse the order
/       show only hosts with a text in their names; Enter keeps the filter, Esc restores the former one
c       show or hide the cores
?       this help
q       quit

{connected} connected   {stale} stale: connected, but no sample for three intervals   {away} away: not connected
stale and away are followed by the age of the last sample.
mem: memory that is not available to programs; disk: used part of the root filesystem
r, w: bytes per second read from and written to all disks
{received}, {sent}: bytes per second received from and sent to the network
lost: samples that never arrived
{alert}: metrics above their thresholds; name: another agent uses the same name
64x and blocks: one block per core, from idle {idle} to busy {busy}; /4: a block shows the busiest of four cores"""


def help_text(glyphs: Glyphs) -> Text:
    """Return what keys and marks mean."""
    idle, busy = glyphs.levels[0], glyphs.levels[-1]
    marks = {"received": glyphs.received, "sent": glyphs.sent, "alert": glyphs.alert, "idle": idle, "busy": busy}
    return Text(_HELP.format(**glyphs.states, **marks))


def details(host: Host, width: int, glyphs: Glyphs) -> Text:
    """Return all that is known of a host, in lines of `width` columns; longer texts are to be wrapped."""
    title = Text(host.name, style="bold").append(f"  {glyphs.states.get(host.state, '?')} {host.state}")
    if host.over_threshold:
        title.append(f"  {glyphs.alert} over its threshold: {', '.join(host.over_threshold)}", style="bold red")
    lines = [title]
    if host.name_conflicts:
        text = f"{glyphs.alert} also {', '.join(host.name_conflicts)} is called {host.name}, and not shown:"
        lines.append(Text(f"{text} give one of them another name (CPU_NAME, --name)", style="bold red"))
    return Text("\n").join([*lines, *_sample(host, width, glyphs), *_agent(host), *_cores(host, width, glyphs)])


def _sample(host: Host, width: int, glyphs: Glyphs) -> Iterator[Text]:
    columns, memory, disk, network = min(max(width // 5, 4), 40), host.memory, host.disk, host.network
    cpu = _gauge("cpu", host.mean, columns, glyphs)
    yield cpu.append(gauges.history(host.means, min(60, width - len(cpu)), glyphs))
    text = ""
    if memory:
        text = f"{_bytes(memory.used)} used of {_bytes(memory.total)}, {_bytes(memory.available)} available"
    yield _gauge("memory", memory_share(memory), columns, glyphs).append(text)
    text = ""
    if disk:
        text = f"{_bytes(disk.used)} of {_bytes(disk.total)}, r {_bytes(disk.read)}/s, w {_bytes(disk.write)}/s"
    yield _gauge("disk", disk_share(disk), columns, glyphs).append(text)
    text = "-"
    if network:
        text = f"received {_bytes(network.received)}/s, sent {_bytes(network.sent)}/s, "
        text += f"{gauges.short(float(network.drops))} dropped/s, {gauges.short(float(network.errors))} errors/s"
    yield _labelled("network", text)
    yield _labelled("load", "  ".join(gauges.short(float(load)) for load in host.load or ()) or "-")


def _agent(host: Host) -> Iterator[Text]:
    own = host.own
    cost = f", {own.cpu:.1f} s of CPU and {_bytes(own.memory)} of memory used" if own else ""
    yield _labelled("agent", f"{host.text('dialect')}, from {host.text('peer') or '-'}{cost}")
    yield _labelled("seen", f"first {host.text('first_seen')}, last {host.text('last_seen')}")
    counters = ", ".join(f"{_number(host.count(name), '.0f')} {text}" for name, text in _COUNTERS)
    age, interval = _number(host.count("age"), ".1f"), _number(host.count("interval"), "g")
    yield _labelled("samples", f"{counters}; last {age} s ago, every {interval} s")


def _cores(host: Host, width: int, glyphs: Glyphs) -> Iterator[Text]:
    cores = host.cores
    digits = len(str(max(len(cores) - 1, 0)))
    columns = max((width + 1) // (max(_MIN_CORE_COLUMNS, digits + 12) + 1), 1)
    cell = min((width + 1) // columns - 1, _MAX_CORE_COLUMNS)
    for first in range(0, len(cores), columns):
        row = Text()
        for number, core in enumerate(cores[first : first + columns], first):
            row.append(f"{number:>{digits}} ", style="dim")
            row.append(gauges.bar(core, max(cell - digits - 8, 1), glyphs)).append(f" {gauges.tenths(core):>6} ")
        row.rstrip()
        yield row


def _gauge(label: str, percent: float | None, width: int, glyphs: Glyphs) -> Text:
    return _labelled(label, f"{gauges.tenths(percent):>6} ").append(gauges.bar(percent, width, glyphs)).append(" ")


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((f"{label:<8} ", "dim"), text)


def _bytes(value: float) -> str:
    text = gauges.size(value)
    return f"{text[:-1]} {text[-1]}iB" if text[-1].isalpha() else f"{text} B"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else f"{value:{spec}}"
