"""A host as the server reports it, untrusted: missing or malformed values are None, every text is safe to show."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from frota.cpu.messages import Disk, Memory, Network, Own

STATES = ("connected", "stale", "away")
_MAX_TEXT_CHARS = 253  # of a DNS name
_MAX_NUMBER = 1e18  # an exabyte
_MAX_ALERTS = 10
_DIGITS = re.compile(r"([0-9]+)")
_Part = TypeVar("_Part")


def safe(value: object) -> str:
    """Return a value as printable ASCII: no control sequence, and one column per character."""
    return value[:_MAX_TEXT_CHARS].encode("unicode_escape").decode() if isinstance(value, str) else "?"


def number(value: object) -> float | None:
    """Return a finite number, limited to 0 … 1e18; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(value, 0), _MAX_NUMBER)


def percent(value: object) -> float | None:
    """Return a percentage, limited to 0 … 100; None for anything else."""
    share = number(value)
    return None if share is None else min(share, 100.0)


def part(kind: Callable[..., _Part], value: object, count: int) -> _Part | None:
    """Return `kind` of the `count` numbers of a list; None if there are not so many, or one is no number."""
    values = value if isinstance(value, list | tuple) and len(value) == count else [None]
    numbers = [number(item) for item in values]
    return None if None in numbers else kind(*numbers)


def load(*numbers: float) -> tuple[float, ...]:
    """Return the loads of 1, 5 and 15 minutes."""
    return numbers


def memory_share(memory: Memory | None) -> float | None:
    """Return the memory that is not available, in percent, as psutil counts it."""
    return memory and _share(memory.total - memory.available, memory.total)


def disk_share(disk: Disk | None) -> float | None:
    """Return the used part of the root filesystem, in percent."""
    return disk and _share(disk.used, disk.total)


class Host:
    """One host of a response. Values are validated when they are read: of thousands of hosts, few are on the screen."""

    __slots__ = ("_sample", "fields", "line", "name")

    def __init__(self, fields: dict[str, Any], line: bytes) -> None:
        self.fields, self.line = fields, line
        self.name = safe(fields.get("host"))
        sample = fields.get("sample")
        self._sample: dict[str, Any] = sample if isinstance(sample, dict) else {}

    @property
    def state(self) -> str:
        """One of STATES, or ? for an unknown one."""
        state = self.fields.get("state")
        return str(state) if state in STATES else "?"

    @property
    def mean(self) -> float | None:
        """The mean of all cores in the last sample, in percent."""
        return percent(self._sample.get("mean"))

    @property
    def cores(self) -> list[float | None]:
        """Each core, in percent."""
        return _percents(self._sample.get("cpu"))

    @property
    def core_count(self) -> int:
        """How many cores `cores` has."""
        cores = self._sample.get("cpu")
        return len(cores) if isinstance(cores, list) else 0

    @property
    def means(self) -> list[float | None]:
        """The last means in percent, oldest first."""
        return _percents(self.fields.get("means"))

    @property
    def load(self) -> tuple[float, ...] | None:
        """The loads of 1, 5 and 15 minutes."""
        return part(load, self._sample.get("load"), 3)

    @property
    def memory(self) -> Memory | None:
        """Memory, in bytes."""
        return self._part(Memory, "memory", Memory._fields)

    @property
    def disk(self) -> Disk | None:
        """The root filesystem in bytes, and all disks in bytes per second."""
        return self._part(Disk, "disk", Disk._fields)

    @property
    def network(self) -> Network | None:
        """All interfaces, in bytes and packets per second."""
        return self._part(Network, "network", Network._fields)

    @property
    def own(self) -> Own | None:
        """CPU time (s) and memory (bytes) of the agent itself."""
        return self._part(Own, "own", Own._fields)

    @property
    def over_threshold(self) -> list[str]:
        """The metrics above their thresholds."""
        return _texts(self.fields.get("over"))

    @property
    def name_conflicts(self) -> list[str]:
        """The addresses of other agents with the same name."""
        return _texts(self.fields.get("name_conflicts"))

    @property
    def alerts(self) -> list[str]:
        """A word for each alert: the metrics above their thresholds, and `name` for a name conflict."""
        return [*self.over_threshold, "name"] if self.name_conflicts else self.over_threshold

    def count(self, name: str) -> float | None:
        """Return a number from outside the sample, such as `missing`."""
        return number(self.fields.get(name))

    def text(self, name: str) -> str:
        """Return a text from outside the sample, such as `peer`."""
        return safe(self.fields.get(name))

    def _part(self, kind: Callable[..., _Part], name: str, fields: tuple[str, ...]) -> _Part | None:
        values = self._sample.get(name)
        return part(kind, [values.get(field) for field in fields], len(fields)) if isinstance(values, dict) else None


def ordered(hosts: Iterable[Host], key: str, *, reverse: bool) -> list[Host]:
    """Return hosts sorted by a key of SORTS, highest first, names ascending; hosts without a value come last."""
    pairs = [(SORTS[key](host), host) for host in sorted(hosts, key=_natural)]
    known = [pair for pair in pairs if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=(key != "name") != reverse)
    return [host for _, host in known] + [host for value, host in pairs if value is None]


def _share(amount: float, whole: float) -> float | None:
    return percent(100 * amount / whole) if whole else None


def _percents(values: object) -> list[float | None]:
    return [percent(value) for value in values] if isinstance(values, list) else []


def _texts(values: object) -> list[str]:
    return [safe(value) for value in values[:_MAX_ALERTS]] if isinstance(values, list) else []


def _natural(host: Host) -> list[str | int]:
    """Return a sort key that puts web-10 behind web-2."""
    parts = _DIGITS.split(host.name.lower())  # text and digits in turn
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _traffic(host: Host) -> float | None:
    network = host.network
    return network and network.received + network.sent


SORTS: dict[str, Callable[[Host], Any]] = {
    "name": _natural,
    "cpu": lambda host: host.mean,
    "memory": lambda host: memory_share(host.memory),
    "disk": lambda host: disk_share(host.disk),
    "network": _traffic,
    "state": lambda host: (*STATES, "?").index(host.state),
}
