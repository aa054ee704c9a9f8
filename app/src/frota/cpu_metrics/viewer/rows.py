"""Hosts as lines of the list, all with the same columns: one line, or two on a narrow screen, and the cores."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from frota.cpu_metrics.viewer import gauges
from frota.cpu_metrics.viewer.gauges import Glyphs
from frota.cpu_metrics.viewer.host_status import Host, disk_share, memory_share

_WIDE = 150  # columns from which a host's summary is one line, under a line of titles
_OTHERS = (33, 94)  # columns beside the name, the last means, and what is over: narrow, wide
_LONGEST_OVER = 18
_NAMES = (20, 40)
_LINE = (4, 60)  # columns of the last means, at the least and at the most
_INDENT, _STATE_WIDTH = 2, 11
_STYLES = {"connected": "green", "stale": "bold yellow", "away": "bold red"}


class Screen(NamedTuple):
    """How large the screen is, and what it can show."""

    width: int
    height: int
    glyphs: Glyphs


class Rows:
    """The lines of hosts that are shown together."""

    def __init__(self, hosts: Sequence[Host], screen: Screen, *, cores: bool) -> None:
        self._width, self._glyphs, self._with_cores = screen.width, screen.glyphs, cores
        self._is_wide = screen.width >= _WIDE
        others = _OTHERS[self._is_wide]
        over = max((len(" ".join(host.alerts)) + 3 for host in hosts if host.alerts), default=0)
        room = screen.width - others - min(over, _LONGEST_OVER)
        longest = max((len(host.name) for host in hosts), default=0)
        self._name = max(min(max(longest, 8), _NAMES[self._is_wide], room - _LINE[0]), 4)
        self._line = max(min(room - self._name, _LINE[1]), 0)

    def height(self, host: Host) -> int:
        """Return how many lines a host takes."""
        summary = 1 if self._is_wide else 2
        count = len(host.cores) if self._with_cores else 0
        if not count:
            return summary
        room = self._room(count)
        return summary + (1 if _bar_width(count, room) else gauges.marks(count, room).rows)

    def titles(self) -> list[Text]:
        """Return the line above all hosts, if there is one."""
        if not self._is_wide:
            return []
        fitting = (title for title in ("LAST MEANS", "MEANS", "") if len(title) <= self._line)
        means = f"{next(fitting):>{self._line}}"
        text = f"  {'HOST':<{self._name}} {'STATE':<{_STATE_WIDTH}} {'CPU':>6} {'':<12} {means}"
        text += f" {'MEM':>4} {'DISK':>4} {'READ':>5} {'WRITE':>5} {'IN':>5} {'OUT':>5}"
        return [Text(f"{text} {'LOAD 1':>6} {'5':>4} {'15':>4} {'LOST':>5}  OVER", style="bold dim")]

    def of(self, host: Host, *, selected: bool = False) -> list[Text]:
        """Return the lines of a host."""
        glyphs = self._glyphs
        cut = host.name[: self._name - 1] + glyphs.cut if len(host.name) > self._name else host.name
        first = Text("> " if selected else "  ")
        first.append(f"{cut:<{self._name}}", style="reverse" if selected else "bold")
        first.append(" ").append(_state(host, glyphs)).append(f" {gauges.tenths(host.mean):>6} ")
        first.append(gauges.bar(host.mean, 12 if self._is_wide else 10, glyphs)).append(" ")
        first.append(gauges.line(host.means, self._line, glyphs))
        if host.state != "connected":  # what it was when it was last heard of
            first.stylize("dim", _INDENT + self._name + 1 + _STATE_WIDTH)
        alerts = host.alerts
        over = Text(f" {glyphs.over} {' '.join(alerts)}" if alerts else "", style="bold red")
        lines = [first]
        if self._is_wide:
            first.append(_columns(host)).append(f" {gauges.short(_lost(host)):>5} ").append(over)
        else:
            first.append(over)
            lines.append(_second(host, glyphs))
        if self._with_cores and host.cores:
            lines += self._cores(host.cores)
        return lines

    def _room(self, count: int) -> int:
        return self._width - _INDENT - _label_width(count)

    def _cores(self, cores: list[float | None]) -> list[Text]:
        """Return the cores: bars with numbers where there is room, else a block each, after their number."""
        count, glyphs = len(cores), self._glyphs
        room, label = self._room(count), _INDENT + _label_width(count)
        if width := _bar_width(count, room):
            row = Text(f"{count}x ".rjust(label), style="dim")
            for core in cores:
                bar, text = gauges.bar(core, width - 4, glyphs), gauges.whole(core).rstrip("%")
                row.append(bar).append(f"{text:>4} ", style="not dim")
            return [row]
        layout = gauges.marks(count, room)
        labels = [f"{count}x ", f"/{layout.cores} " if layout.cores > 1 else ""]
        found = gauges.blocks(cores, layout, glyphs)
        return [Text(text.rjust(label), style="dim").append(row) for text, row in zip(labels, found, strict=False)]


def _label_width(count: int) -> int:
    return max(len(str(count)), 2) + 2


def _bar_width(count: int, room: int) -> int:
    """Return the columns of a bar with its number for each core, 0 where blocks must do."""
    width = min((room + 1) // count - 1, 24)
    return width if width >= 8 else 0


def _state(host: Host, glyphs: Glyphs) -> Text:
    """Return a state as a mark and a word, with the age of the last sample where that matters."""
    state = host.state
    text = f"{glyphs.states.get(state, '?')} {'up' if state == 'connected' else state}"
    if state != "connected":
        text += f" {gauges.duration(host.count('age'))}"
    return Text(f"{text:<{_STATE_WIDTH}}", style=_STYLES.get(state, "bold red"))


def _lost(host: Host) -> float | None:
    """Return how many samples are missing, None for none."""
    return host.count("missing") or None


def _columns(host: Host) -> Text:
    memory, disk, network = memory_share(host.memory), host.disk, host.network
    text = Text(" ").append(f"{gauges.whole(memory):>4}", style=gauges.colour(memory))
    text.append(" ").append(f"{gauges.whole(disk_share(disk)):>4}", style=gauges.colour(disk_share(disk)))
    for one in (disk and disk.read, disk and disk.write, network and network.received, network and network.sent):
        text.append(f" {gauges.size(one):>5}")
    now, five, fifteen = map(gauges.short, host.load or (None, None, None))
    return text.append(f" {now:>6} {five:>4} {fifteen:>4}")


def _second(host: Host, glyphs: Glyphs) -> Text:
    memory, disk, network = memory_share(host.memory), host.disk, host.network
    text = Text("  mem ").append(f"{gauges.whole(memory):>4}", style=gauges.colour(memory))
    text.append("  disk ").append(f"{gauges.whole(disk_share(disk)):>4}", style=gauges.colour(disk_share(disk)))
    text.append(f" r{gauges.size(disk and disk.read):<4} w{gauges.size(disk and disk.write):<4}")
    text.append(f"  net {glyphs.into}{gauges.size(network and network.received):<4}")
    text.append(f" {glyphs.out}{gauges.size(network and network.sent):<4} load ")
    text.append(" ".join(f"{gauges.short(one):>4}" for one in host.load or (None, None, None)))
    lost = _lost(host)
    return text.append(f" lost {gauges.short(lost)}" if lost else "", style="bold yellow")
