"""Measures this computer: the difference between psutil's counters and those of the reading before."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import psutil

from frota.cpu.messages import Disk, Memory, Network, Own, Sample
from frota.logs import log

FIRST_SAMPLE_DELAY_S = 0.25  # between the first reading and the first sample: 25 ticks of the kernel's CPU accounting
_MAX_VALUE = 2**62  # below the server's limit
_BLOCK_DEVICES = "/sys/block"

T = TypeVar("T")
Counters = Mapping[str, Any]  # by the name of a device


class Reading(NamedTuple):
    """The counters at a time of the monotonic clock (s); None for a source that cannot be read."""

    time: float
    cores: Sequence[Any]
    disks: Counters | None
    interfaces: Counters | None


class Sampler:
    """Takes samples, each of the time since the one before. Raises OSError if the CPU cannot be read.

    `block_devices` is the folder in which the kernel lists them.
    """

    def __init__(self, block_devices: str = _BLOCK_DEVICES) -> None:
        self._block_devices = block_devices
        self._unavailable: set[str] = set()  # sources that could not be read the last time
        self._process = psutil.Process()
        self._previous = self._read()

    def sample(self) -> Sample:
        """Return a sample of the time since the last call, or since the start. Raises OSError."""
        before, now = self._previous, self._read()
        if len(now.cores) != len(before.cores):
            # Cores were added or removed. psutil numbers none, so that those of two readings cannot be matched.
            before = now
            time.sleep(FIRST_SAMPLE_DELAY_S)  # usage is a difference of two readings of the counters
            now = self._read()
        self._previous = now
        seconds = max(now.time - before.time, 1e-3)
        cores, mean = usage(before.cores, now.cores)
        return Sample(
            cpu=cores,
            mean=mean,
            load=self._read_source("load", _load),
            memory=self._read_source("memory", _memory),
            disk=self._read_source("disk", lambda: self._disk(before.disks, now.disks, seconds)),
            network=_network(before.interfaces, now.interfaces, seconds),
            own=self._read_source("own", lambda: Own(round(time.process_time(), 3), self._process.memory_info().rss)),
        )

    def _read(self) -> Reading:
        disks = self._read_source("disks", lambda: psutil.disk_io_counters(perdisk=True, nowrap=False))
        interfaces = self._read_source("interfaces", lambda: psutil.net_io_counters(pernic=True, nowrap=False))
        now, cores = time.monotonic(), psutil.cpu_times(percpu=True)
        if not cores:
            raise OSError("the kernel lists no core in /proc/stat")
        return Reading(now, cores, disks, interfaces)

    def _read_source(self, name: str, read: Callable[[], T]) -> T | None:
        """Return what `read` returns, None if it fails (in a container, on an old kernel); log the first failure."""
        try:
            value = read()
        except (OSError, RuntimeError, ValueError, LookupError, AssertionError, psutil.Error) as error:
            if name not in self._unavailable:
                text = f"cannot read {name}, samples go without it: {error}"
                log.record("WARNING", "source_unavailable", text, SOURCE=name)
            self._unavailable.add(name)
            return None
        self._unavailable.discard(name)
        return value

    def _disk(self, before: Counters | None, now: Counters | None, seconds: float) -> Disk | None:
        if before is None or now is None:
            return None
        root = psutil.disk_usage("/")
        physical = {name: counters for name, counters in now.items() if self._is_physical(name)}
        read, written = _rates(before, physical, seconds, ("read_bytes",), ("write_bytes",))
        total = _total(root.total)  # some filesystems report more free than total space
        return Disk(total, _clamp(root.used, total), read, written)

    def _is_physical(self, name: str) -> bool:
        """Tell whether a device is a disk; partitions, and layers over disks (dm, md, loop), would count twice.

        The kernel links a disk to its hardware (or the hypervisor's), and no other block device.
        """
        path = f"{self._block_devices}/{name.replace('/', '!')}/device"
        return os.path.exists(path)  # noqa: PTH110 -- pathlib interns the parts of every path, a MiB after some days


def usage(before: Sequence[Any], now: Sequence[Any]) -> tuple[tuple[float, ...], float]:
    """Return the busy time of each core, and of all together, in percent."""
    times = [_busy_and_total(*pair) for pair in zip(before, now, strict=True)]
    busy, total = (sum(part) for part in zip(*times, strict=True))
    return tuple(_percent(*core) for core in times), _percent(busy, total)


def _busy_and_total(before: Any, now: Any) -> tuple[float, float]:
    """Return a core's busy and total time (s) between two readings. `user` and `nice` already contain the guests'."""
    deltas = {name: max(0.0, getattr(now, name) - getattr(before, name)) for name in now._fields}
    total = sum(deltas.values()) - deltas.get("guest", 0.0) - deltas.get("guest_nice", 0.0)
    return total - deltas["idle"] - deltas.get("iowait", 0.0), total


def _percent(busy: float, total: float) -> float:
    return round(min(100.0, max(0.0, 100 * busy / total)), 1) if total > 0 else 0.0


def _load() -> tuple[float, float, float]:
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def _memory() -> Memory:
    memory = psutil.virtual_memory()
    # In a container some values may be the host's: more available than total, or used below 0.
    total = _total(memory.total)
    return Memory(total, _clamp(memory.used, total), _clamp(memory.available, total))


def _total(size: int) -> int:
    """Return a total size, in bytes. Raises ValueError for one that the server would reject."""
    if not 0 <= size <= _MAX_VALUE:
        raise ValueError(f"a total of {size} bytes")
    return size


def _clamp(part: int, total: int) -> int:
    return min(max(part, 0), total)


def _network(before: Counters | None, now: Counters | None, seconds: float) -> Network | None:
    if before is None or now is None:
        return None
    interfaces = {name: counters for name, counters in now.items() if name != "lo"}
    fields = (("bytes_recv",), ("bytes_sent",), ("dropin", "dropout"), ("errin", "errout"))
    return Network(*_rates(before, interfaces, seconds, *fields))


def _rates(before: Counters, now: Counters, seconds: float, *rates: tuple[str, ...]) -> list[float]:
    """Return the increase per second of some rates, each the sum of the counters named, over all devices.

    Each counter of each device by itself: one that is new or was reset must not hide what the others count.
    """
    pairs = [(before[name], counters) for name, counters in now.items() if name in before]
    return [round(min(_MAX_VALUE, _increase(pairs, fields) / seconds), 1) for fields in rates]


def _increase(pairs: Sequence[tuple[Any, Any]], fields: tuple[str, ...]) -> int:
    return sum(max(0, getattr(now, field) - getattr(before, field)) for before, now in pairs for field in fields)
