"""Measures this computer: psutil's counters, compared with those of the reading before."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import psutil

from frota.cpu_metrics.messages import Disk, Memory, Network, Own, Sample
from frota.logs import log

FIRST_SAMPLE_DELAY_S = 0.25  # from the first reading to the first sample: 25 ticks of the kernel's accounting
_MAX_VALUE = 2**62  # of any figure: more than there is of anything, and less than a server takes
BLOCK_DEVICES = "/sys/block"

T = TypeVar("T")
Counters = Mapping[str, Any]


class Reading(NamedTuple):
    """Counters at one moment of the monotonic clock, in seconds; None for what cannot be read."""

    at: float
    cores: Sequence[Any]
    disks: Counters | None
    interfaces: Counters | None


class Sampler:
    """Makes samples, each against the reading before it. Raises OSError where not even the CPU can be read."""

    def __init__(self) -> None:
        self._unavailable: set[str] = set()
        self._process = psutil.Process()
        self._previous = self._read()

    def sample(self) -> Sample:
        """Return what happened since the last call, or since the beginning. Raises OSError: the CPU cannot be read."""
        before, now = self._previous, self._read()
        if len(now.cores) != len(before.cores):
            # Cores came or went, and psutil's list has no numbers: nobody knows which is which.
            before = now
            time.sleep(FIRST_SAMPLE_DELAY_S)  # the time that is measured
            now = self._read()
        self._previous = now
        seconds = max(now.at - before.at, 1e-3)
        shares, mean = usage(before.cores, now.cores)
        return Sample(
            cpu=shares,
            mean=mean,
            load=self._read_source("load", _load),
            memory=self._read_source("memory", _memory),
            disk=self._read_source("disk", lambda: _disk(before.disks, now.disks, seconds)),
            network=_network(before.interfaces, now.interfaces, seconds),
            own=self._read_source("own", lambda: Own(round(time.process_time(), 3), self._process.memory_info().rss)),
        )

    def _read(self) -> Reading:
        disks = self._read_source("disks", lambda: psutil.disk_io_counters(perdisk=True, nowrap=False))
        interfaces = self._read_source("interfaces", lambda: psutil.net_io_counters(pernic=True, nowrap=False))
        now, cores = time.monotonic(), psutil.cpu_times(percpu=True)
        if not cores:
            raise OSError("the kernel names no core in /proc/stat")
        return Reading(now, cores, disks, interfaces)

    def _read_source(self, name: str, read: Callable[[], T]) -> T | None:
        """Return what `read` gives; where it fails (a container, an old kernel) tell once and do without."""
        try:
            value = read()
        except (OSError, RuntimeError, ValueError, LookupError, AssertionError, psutil.Error) as error:
            if name not in self._unavailable:
                log.record("WARNING", "source_unavailable", f"{name}: cannot be read, left out: {error}", SOURCE=name)
            self._unavailable.add(name)
            return None
        self._unavailable.discard(name)
        return value


def usage(before: Sequence[Any], now: Sequence[Any]) -> tuple[tuple[float, ...], float]:
    """Return the busy share of each core, and of all together, in percent."""
    spent = [_busy_and_total(*pair) for pair in zip(before, now, strict=True)]
    return tuple(_percent(*one) for one in spent), _percent(*(sum(part) for part in zip(*spent, strict=True)))


def _busy_and_total(before: Any, now: Any) -> tuple[float, float]:
    """Return a core's busy and total time, in seconds, as psutil counts: guests are in `user` and `nice` already."""
    deltas = {name: max(0.0, getattr(now, name) - getattr(before, name)) for name in now._fields}
    total = sum(deltas.values()) - deltas.get("guest", 0.0) - deltas.get("guest_nice", 0.0)
    return total - deltas["idle"] - deltas.get("iowait", 0.0), total


def _percent(busy: float = 0.0, total: float = 0.0) -> float:
    return round(min(100.0, max(0.0, 100 * busy / total)), 1) if total > 0 else 0.0


def _load() -> tuple[float, float, float]:
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def _memory() -> Memory:
    memory = psutil.virtual_memory()
    # In a container some figures may be those of its host: more available than there is, or less than none used.
    total = _total(memory.total)
    return Memory(total, _clamp(memory.used, total), _clamp(memory.available, total))


def _disk(before: Counters | None, now: Counters | None, seconds: float) -> Disk | None:
    if before is None or now is None:
        return None
    root = psutil.disk_usage("/")
    physical = {name: counters for name, counters in now.items() if _is_physical(name)}
    read, written = _rates(before, physical, seconds, ("read_bytes",), ("write_bytes",))
    total = _total(root.total)  # some filesystems have more that is free than there is
    return Disk(total, _clamp(root.used, total), read, written)


def _total(size: int) -> int:
    """Return how much there is. Raises ValueError for what no computer has, and no server takes."""
    if not 0 <= size <= _MAX_VALUE:
        raise ValueError(f"{size} bytes in all")
    return size


def _clamp(part: int, total: int) -> int:
    return min(max(part, 0), total)


def _is_physical(name: str) -> bool:
    """Tell whether a device is a disk itself: a partition, or a layer over disks (dm, md, loop), counts twice.

    The kernel links a disk to the hardware (or the hypervisor's hardware) that it belongs to, and nothing else.
    """
    path = f"{BLOCK_DEVICES}/{name.replace('/', '!')}/device"
    return os.path.exists(path)  # noqa: PTH110 -- pathlib interns the parts of every path, a MiB with the days


def _network(before: Counters | None, now: Counters | None, seconds: float) -> Network | None:
    if before is None or now is None:
        return None
    outside = {name: counters for name, counters in now.items() if name != "lo"}
    wanted = (("bytes_recv",), ("bytes_sent",), ("dropin", "dropout"), ("errin", "errout"))
    return Network(*_rates(before, outside, seconds, *wanted))


def _rates(before: Counters, now: Counters, seconds: float, *wanted: tuple[str, ...]) -> list[float]:
    """Return, for each tuple of counters, by how many a second they grew on all devices together.

    Device by device: one that is new, or whose counters went back, must not hide what the others did.
    """
    pairs = [(before[name], counters) for name, counters in now.items() if name in before]
    return [
        round(
            min(
                _MAX_VALUE, sum(max(0, getattr(b, one) - getattr(a, one)) for a, b in pairs for one in names) / seconds
            ),
            1,
        )
        for names in wanted
    ]
