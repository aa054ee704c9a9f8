"""What is looked at, and what keys change of it. No I/O."""

from collections.abc import Sequence

from frota.cpu_metrics.viewer.host_status import SORTS, Host, ordered

KEYS = (
    ("q", "quit"),
    ("?", "help"),
    ("s", "sort"),
    ("r", "reverse"),
    ("/", "filter"),
    ("c", "cores"),
    ("Enter", "details"),
)
_MOVES = ("up", "down", "page up", "page down", "home", "end")
_LONGEST_FILTER = 60


class View:
    """The list with its order, filter and selected host, or one of its pages: that host's details, or the help."""

    def __init__(self, sort: str = "name", wanted: str = "") -> None:
        self.sort, self.wanted = sort, wanted
        self.reverse = False
        self.cores = True
        self.page = ""  # or details, or help
        self.typing: str | None = None  # the filter as it was before it is typed anew
        self.first = 0  # of the hosts, or of the page's lines, the first that is on the screen
        self.fits = 1  # hosts, or lines of the page, on the screen
        self.shown: list[Host] = []
        self.known = 0  # hosts, shown or not
        self.over = False
        self._hosts: Sequence[Host] = ()
        self._selected, self._index = "", 0  # no name: the first, whoever that is

    def take(self, hosts: Sequence[Host]) -> None:
        """Take in the hosts of an answer."""
        self._hosts, self.known = hosts, len(hosts)
        self._arrange()

    @property
    def index(self) -> int:
        """Where in the list the selected host is."""
        return self._index

    @property
    def selected(self) -> Host | None:
        """The selected host."""
        return self.shown[self._index] if self.shown else None

    def press(self, key: str) -> None:
        """Do what a key stands for."""
        if self.typing is not None:
            self._type(key)
        elif key == "q":
            self.over = True
        elif key == "?":
            self._turn_to("" if self.page == "help" else "help")
        elif key in ("enter", "escape"):
            self._turn_to("details" if key == "enter" and not self.page and self.shown else "")
        elif key in _MOVES:
            self._move(key)
        elif not self.page:
            self._change(key)

    def _change(self, key: str) -> None:
        if key == "s":
            keys = list(SORTS)
            self.sort = keys[(keys.index(self.sort) + 1) % len(keys)]
        elif key == "r":
            self.reverse = not self.reverse
        elif key == "c":
            self.cores = not self.cores
        elif key == "/":
            self.typing = self.wanted
        self._arrange()

    def _type(self, key: str) -> None:
        if key == "enter":
            self.typing = None
        elif key == "escape":
            self.wanted, self.typing = self.typing or "", None
        elif key == "backspace":
            self.wanted = self.wanted[:-1]
        elif len(key) == 1 and key.isascii() and len(self.wanted) < _LONGEST_FILTER:  # as all names are
            self.wanted += key
        self._arrange()

    def _turn_to(self, page: str) -> None:
        self.page, self.first = page, 0  # the list finds the selected host again
        if self.selected and page == "details":
            self._selected = self.selected.name

    def _move(self, key: str) -> None:
        here = self.first if self.page else self._index
        places = {"up": here - 1, "down": here + 1, "page up": here - self.fits, "page down": here + self.fits}
        place = places.get(key, 0 if key == "home" else 1 << 30)
        if self.page:
            self.first = max(place, 0)  # the page knows its end
        elif self.shown:
            self._index = min(max(place, 0), len(self.shown) - 1)
            self._selected = self.shown[self._index].name if self._index else ""  # whoever is the first

    def _arrange(self) -> None:
        """Put the hosts in order; the selected one stays selected wherever it gets to, as long as it is there."""
        wanted = self.wanted.lower()
        found = (host for host in self._hosts if wanted in host.name.lower())
        self.shown = ordered(found, self.sort, reverse=self.reverse)
        names = [host.name for host in self.shown]
        if self._selected in names:
            self._index = names.index(self._selected)
            return
        self._index = min(self._index, max(len(names) - 1, 0))
        if self.page == "details":  # of a host that is forgotten
            self._turn_to("")
