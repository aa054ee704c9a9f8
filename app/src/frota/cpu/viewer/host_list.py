"""The hosts as a list: sort key, filter and selected host. No I/O."""

from collections.abc import Sequence

from frota.cpu.viewer.host_status import SORTS, Host, ordered


class HostList:
    """The hosts of the last response, filtered and sorted, one of them selected."""

    def __init__(self, sort: str = "name", filter_text: str = "") -> None:
        self.sort, self.filter_text = sort, filter_text
        self.reverse = False
        self.shown: list[Host] = []
        self.index = 0  # of the selected host in `shown`
        self._hosts: Sequence[Host] = ()
        self._selected = ""  # its name; without one the first host stays selected, whichever it is

    @property
    def total(self) -> int:
        """The number of hosts, shown or not."""
        return len(self._hosts)

    @property
    def selected(self) -> Host | None:
        """The selected host."""
        return self.shown[self.index] if self.shown else None

    def update(self, hosts: Sequence[Host]) -> None:
        """Replace the hosts by those of a new response."""
        self._hosts = hosts
        self.arrange()

    def sort_by_next(self) -> None:
        """Sort by the next key."""
        keys = list(SORTS)
        self.sort = keys[(keys.index(self.sort) + 1) % len(keys)]
        self.arrange()

    def select(self, index: int, *, pinned: bool = False) -> None:
        """Select the host at an index, or the nearest one; the first host is selected by place unless it is pinned."""
        self.index = min(max(index, 0), max(len(self.shown) - 1, 0))
        self._selected = self.shown[self.index].name if self.shown and (self.index or pinned) else ""

    def arrange(self) -> None:
        """Filter and sort; the selected host stays selected at its new place, as long as it is shown."""
        text = self.filter_text.lower()
        matching = (host for host in self._hosts if text in host.name.lower())
        self.shown = ordered(matching, self.sort, reverse=self.reverse)
        names = [host.name for host in self.shown]
        self.index = names.index(self._selected) if self._selected in names else min(self.index, max(len(names) - 1, 0))
