"""A host as the server tells of it: what is missing or makes no sense is None, and every text is safe to show."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from frota.cpu_metrics.messages import Disk, Memory, Network, Own

STATES = ("connected", "stale", "away")
_LONGEST_TEXT = 253  # characters, a DNS name's
_HIGHEST = 1e18  # of any number: an exabyte
_DIGITS = re.compile(r"([0-9]+)")
_Part = TypeVar("_Part")


def safe(value: object) -> str:
    """Return a text in printable ASCII, whatever it was: nothing that a terminal obeys or draws wider than it is."""
    return value[:_LONGEST_TEXT].encode("unicode_escape").decode() if isinstance(value, str) else "?"


def number(value: object) -> float | None:
    """Return what is a number, none below 0 and none beyond all measure."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(value, 0), _HIGHEST)


def percent(value: object) -> float | None:
    """Return what is a percentage, from 0 to 100."""
    found = number(value)
    return None if found is None else min(found, 100.0)


def part(kind: Callable[..., _Part], value: object, count: int) -> _Part | None:
    """Return the parts of a sample's list of `count` numbers; None where one of them is none."""
    numbers = [number(one) for one in value] if isinstance(value, list | tuple) and len(value) == count else [None]
    return None if None in numbers else kind(*numbers)


def load(*numbers: float) -> tuple[float, ...]:
    """Return the loads of 1, 5 and 15 minutes."""
    return numbers


def memory_share(memory: Memory | None) -> float | None:
    """Return what is not available of the memory, in percent, as psutil counts it."""
    return memory and _share(memory.total - memory.available, memory.total)


def disk_share(disk: Disk | None) -> float | None:
    """Return what is used of the root filesystem, in percent."""
    return disk and _share(disk.used, disk.total)


class Host:
    """One host of an answer, read when it is looked at: of thousands, few are on the screen."""

    __slots__ = ("_sample", "fields", "line", "name")

    def __init__(self, fields: dict[str, Any], line: bytes) -> None:
        self.fields, self.line = fields, line
        self.name = safe(fields.get("host"))
        sample = fields.get("sample")
        self._sample: dict[str, Any] = sample if isinstance(sample, dict) else {}

    @property
    def state(self) -> str:
        """Connected, stale, away, or ? for what no server says."""
        state = self.fields.get("state")
        return str(state) if state in STATES else "?"

    @property
    def mean(self) -> float | None:
        """The last mean, in percent."""
        return percent(self._sample.get("mean"))

    @property
    def cores(self) -> list[float | None]:
        """Each core, in percent."""
        found = self._sample.get("cpu")
        return [percent(one) for one in found] if isinstance(found, list) else []

    @property
    def means(self) -> list[float | None]:
        """The last means in percent, oldest first."""
        found = self.fields.get("means")
        return [percent(one) for one in found] if isinstance(found, list) else []

    @property
    def load(self) -> tuple[float, ...] | None:
        """The loads of 1, 5 and 15 minutes."""
        return part(load, self._sample.get("load"), 3)

    @property
    def memory(self) -> Memory | None:
        """The memory."""
        return self._part(Memory, "memory", Memory._fields)

    @property
    def disk(self) -> Disk | None:
        """The disks."""
        return self._part(Disk, "disk", Disk._fields)

    @property
    def network(self) -> Network | None:
        """The network."""
        return self._part(Network, "network", Network._fields)

    @property
    def own(self) -> Own | None:
        """What the agent costs."""
        return self._part(Own, "own", Own._fields)

    @property
    def over(self) -> list[str]:
        """The metrics that have crossed their thresholds."""
        found = self.fields.get("over")
        return [safe(one) for one in found[:10]] if isinstance(found, list) else []

    @property
    def rivals(self) -> list[str]:
        """The addresses of other agents that call themselves by its name."""
        found = self.fields.get("name_conflicts")
        return [safe(one) for one in found[:10]] if isinstance(found, list) else []

    @property
    def alerts(self) -> list[str]:
        """What is the matter with it, in a word each: the metrics that are over, and its name."""
        return [*self.over, "name"] if self.rivals else self.over

    def count(self, name: str) -> float | None:
        """Return a number of the host itself, such as `missing`."""
        return number(self.fields.get(name))

    def text(self, name: str) -> str:
        """Return a text of the host itself, such as `peer`."""
        return safe(self.fields.get(name))

    def _part(self, kind: Callable[..., _Part], name: str, fields: tuple[str, ...]) -> _Part | None:
        found = self._sample.get(name)
        return part(kind, [found.get(one) for one in fields], len(fields)) if isinstance(found, dict) else None


def ordered(hosts: Iterable[Host], key: str, *, reverse: bool) -> list[Host]:
    """Return hosts by a key of SORTS, the most first; those without it come last, either way."""
    value = SORTS[key]
    known: list[tuple[Any, Host]] = []
    unknown: list[Host] = []
    for host in sorted(hosts, key=_natural):
        if (found := value(host)) is None:
            unknown.append(host)
        else:
            known.append((found, host))
    known.sort(key=lambda pair: pair[0], reverse=(key != "name") != reverse)
    return [host for _, host in known] + unknown


def _share(one: float, whole: float) -> float | None:
    return percent(100 * one / whole) if whole else None


def _natural(host: Host) -> list[str | int]:
    """Return a key that puts web-10 behind web-2."""
    return [int(part) if odd % 2 else part for odd, part in enumerate(_DIGITS.split(host.name.lower()))]


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
