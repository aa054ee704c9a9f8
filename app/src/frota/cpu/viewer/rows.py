"""The list of hosts as lines of styled text with the same columns, to be printed or shown. No I/O."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from frota.cpu.viewer import gauges
from frota.cpu.viewer.gauges import Glyphs
from frota.cpu.viewer.host_list import HostList
from frota.cpu.viewer.host_status import STATES, Host, disk_share, memory_share, safe
from frota.net.addresses import endpoint

_WIDE_COLUMNS = 150  # from here on a host's summary is one line, below a line of titles
_FIXED_COLUMNS = (33, 94)  # all but the name, the history and the alerts: narrow, wide
_MAX_ALERT_COLUMNS = 18
_MIN_NAME_COLUMNS, _MAX_NAME_COLUMNS = 8, (20, 40)
_MIN_HISTORY_COLUMNS, _MAX_HISTORY_COLUMNS = 4, 60
_INDENT, _STATE_COLUMNS = 2, 11
_STATE_STYLES = {"connected": "green", "stale": "bold yellow", "away": "bold red"}
_NO_HOSTS = (
    "No host has sent anything yet. On each computer that is to be shown, start an agent:",
    "frota cpu agent --host {host} --port {port}",
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Server(NamedTuple):
    """The server's address."""

    host: str
    port: int


class Rows:
    """The lines of hosts that are shown together in so many columns."""

    def __init__(self, hosts: Sequence[Host], width: int, glyphs: Glyphs, *, cores: bool = True) -> None:
        self._width, self._glyphs, self._with_cores = width, glyphs, cores
        self._is_wide = width >= _WIDE_COLUMNS
        alerts = max((len(" ".join(host.alerts)) + 3 for host in hosts if host.alerts), default=0)
        left = width - _FIXED_COLUMNS[self._is_wide] - min(alerts, _MAX_ALERT_COLUMNS)
        longest = max((len(host.name) for host in hosts), default=0)
        columns = min(max(longest, _MIN_NAME_COLUMNS), _MAX_NAME_COLUMNS[self._is_wide])
        self._name = max(min(columns, left - _MIN_HISTORY_COLUMNS), 4)
        self._history = max(min(left - self._name, _MAX_HISTORY_COLUMNS), 0)

    def height(self, host: Host) -> int:
        """Return the number of lines of a host."""
        summary = 1 if self._is_wide else 2
        count = host.core_count if self._with_cores else 0
        if not count:
            return summary
        columns = self._core_columns(count)
        return summary + (1 if _bar_columns(count, columns) else gauges.core_layout(count, columns).rows)

    def titles(self) -> list[Text]:
        """Return the line above all hosts, on a wide screen."""
        if not self._is_wide:
            return []
        history = next(title for title in ("LAST MEANS", "MEANS", "") if len(title) <= self._history)
        text = f"  {'HOST':<{self._name}} {'STATE':<{_STATE_COLUMNS}} {'CPU':>6} {'':<12} {history:>{self._history}}"
        text += f" {'MEM':>4} {'DISK':>4} {'READ':>5} {'WRITE':>5} {'IN':>5} {'OUT':>5}"
        return [Text(f"{text} {'LOAD 1':>6} {'5':>4} {'15':>4} {'LOST':>5}  OVER", style="bold dim")]

    def lines(self, host: Host, *, selected: bool = False) -> list[Text]:
        """Return the lines of a host."""
        glyphs = self._glyphs
        name = host.name[: self._name - 1] + glyphs.cut if len(host.name) > self._name else host.name
        first = Text("> " if selected else "  ")
        first.append(f"{name:<{self._name}}", style="reverse" if selected else "bold")
        first.append(" ").append(_state(host, glyphs)).append(f" {gauges.tenths(host.mean):>6} ")
        first.append(gauges.bar(host.mean, 12 if self._is_wide else 10, glyphs)).append(" ")
        first.append(gauges.history(host.means, self._history, glyphs))
        if host.state != "connected":  # the last known values
            first.stylize("dim", _INDENT + self._name + 1 + _STATE_COLUMNS)
        alerts = Text(f" {glyphs.alert} {' '.join(host.alerts)}" if host.alerts else "", style="bold red")
        if self._is_wide:
            lines = [first.append(_columns(host)).append(f" {gauges.short(_lost(host)):>5} ").append(alerts)]
        else:
            lines = [first.append(alerts), _second_line(host, glyphs)]
        return lines + (self._cores(host.cores) if self._with_cores and host.core_count else [])

    def window(self, hosts: Sequence[Host], index: int, first: int, height: int) -> range:
        """Return the indexes of the hosts that fit whole into `height` lines, among them `index`.

        `first` is where the window began before: it moves as little as possible.
        """
        start = stop = index
        left = height - self.height(hosts[index])
        # Up to the former beginning, down to the bottom, then up again into what is left.
        for limit in (min(first, index), 0):
            while start > limit and (lines := self.height(hosts[start - 1])) <= left:
                start, left = start - 1, left - lines
            while stop + 1 < len(hosts) and (lines := self.height(hosts[stop + 1])) <= left:
                stop, left = stop + 1, left - lines
            if stop + 1 < len(hosts):
                break
        return range(start, stop + 1)

    def _core_columns(self, count: int) -> int:
        return self._width - _INDENT - _label_columns(count)

    def _cores(self, cores: list[float | None]) -> list[Text]:
        """Return the cores after their number: bars with percentages where they fit, else a block each."""
        count, glyphs = len(cores), self._glyphs
        columns, label = self._core_columns(count), _INDENT + _label_columns(count)
        if width := _bar_columns(count, columns):
            row = Text(f"{count}x ".rjust(label), style="dim")
            for core in cores:
                bar, text = gauges.bar(core, width - 4, glyphs), gauges.whole(core).rstrip("%")
                row.append(bar).append(f"{text:>4} ", style="not dim")
            return [row]
        layout = gauges.core_layout(count, columns)
        labels = [f"{count}x ", f"/{layout.cores_per_block} " if layout.cores_per_block > 1 else ""]
        blocks = gauges.core_blocks(cores, layout, glyphs)
        return [Text(text.rjust(label), style="dim").append(row) for text, row in zip(labels, blocks, strict=False)]


def listing(hosts: HostList, server: Server, clock: str, width: int, glyphs: Glyphs) -> list[Text]:
    """Return the whole list with its summary, for printing."""
    rows = Rows(hosts.shown, width, glyphs)
    lines = [summary(hosts, server, clock), *(rows.titles() if hosts.shown else no_hosts(hosts, server, width))]
    for host in hosts.shown:
        lines += rows.lines(host)
    for line in lines:
        line.truncate(max(width, 1), overflow="crop")
        line.rstrip()
    return lines


def summary(hosts: HostList, server: Server, clock: str) -> Text:
    """Return the first line: the server, hosts by state, the filter, the time and the sort key."""
    counts = [(sum(host.state == state for host in hosts.shown), state) for state in STATES]
    parts = [f"{count} {state}" for count, state in counts if count or state == STATES[0]]
    if len(hosts.shown) != hosts.total:
        total = f"{hosts.total} host{'' if hosts.total == 1 else 's'}"
        parts.insert(0, f"{len(hosts.shown)} of {total} with {safe(hosts.filter_text)!r}")
    sort = f"by {hosts.sort}{', reversed' if hosts.reverse else ''}"
    parts = [endpoint(safe(server.host), server.port), *parts, clock, sort]
    return Text("frota cpu top  ", style="bold").append("  ".join(parts))


def no_hosts(hosts: HostList, server: Server, width: int) -> list[Text]:
    """Return what is shown instead of an empty list."""
    host = "SERVER" if server.host in _LOOPBACK else safe(server.host)
    advice = [text.format(host=host, port=server.port) for text in _NO_HOSTS]
    texts = [f"No host's name has {safe(hosts.filter_text)!r} in it."] if hosts.total else advice
    return [Text(), *(Text(line) for text in texts for line in textwrap.wrap(text, max(width, 1)))]


def _label_columns(count: int) -> int:
    return max(len(str(count)), 2) + 2


def _bar_columns(count: int, columns: int) -> int:
    """Return the columns of each core's bar with its percentage, 0 where bars do not fit."""
    width = min((columns + 1) // count - 1, 24)
    return width if width >= 8 else 0


def _state(host: Host, glyphs: Glyphs) -> Text:
    """Return the state as a mark and a word, with the age of the last sample unless the host is connected."""
    state = host.state
    text = f"{glyphs.states.get(state, '?')} {'up' if state == 'connected' else state}"
    if state != "connected":
        text += f" {gauges.duration(host.count('age'))}"
    return Text(f"{text:<{_STATE_COLUMNS}}", style=_STATE_STYLES.get(state, "bold red"))


def _lost(host: Host) -> float | None:
    return host.count("missing") or None


def _share(value: float | None) -> Text:
    return Text(f"{gauges.whole(value):>4}", style=gauges.colour(value))


def _columns(host: Host) -> Text:
    """Return memory, disk, network and load for one wide line."""
    disk, network = host.disk, host.network
    text = Text.assemble(" ", _share(memory_share(host.memory)), " ", _share(disk_share(disk)))
    for rate in (disk and disk.read, disk and disk.write, network and network.received, network and network.sent):
        text.append(f" {gauges.size(rate):>5}")
    one, five, fifteen = map(gauges.short, host.load or (None, None, None))
    return text.append(f" {one:>6} {five:>4} {fifteen:>4}")


def _second_line(host: Host, glyphs: Glyphs) -> Text:
    """Return memory, disk, network, load and lost samples for a narrow screen."""
    disk, network = host.disk, host.network
    text = Text.assemble("  mem ", _share(memory_share(host.memory)), "  disk ", _share(disk_share(disk)))
    text.append(f" r{gauges.size(disk and disk.read):<4} w{gauges.size(disk and disk.write):<4}")
    text.append(f"  net {glyphs.received}{gauges.size(network and network.received):<4}")
    text.append(f" {glyphs.sent}{gauges.size(network and network.sent):<4} load ")
    text.append(" ".join(f"{gauges.short(load):>4}" for load in host.load or (None, None, None)))
    lost = _lost(host)
    return text.append(f" lost {gauges.short(lost)}" if lost else "", style="bold yellow")
