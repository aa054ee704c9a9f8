"""Metrics in Prometheus's text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

A metric reads the value that its owner counts anyway, at the moment when it is collected: counting costs an addition,
and no lock.
"""

import errno
import os
import re
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from frota import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_LABEL_VALUES = 50  # of one metric; further values are counted as "other"
_NAME, _LABEL = re.compile("[a-z]+(?:_[a-z0-9]+)+"), re.compile("[a-z]+(?:_[a-z]+)*")
_RESERVED_SUFFIXES = ("_bucket", "_count", "_sum")
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

Value = float | Mapping[str, float]


class Metric(NamedTuple):
    """A metric: its name, its type (counter or gauge), its help and a function that returns its value.

    With a `label`, the function returns a value for each value of the label.
    """

    name: str
    kind: str
    text: str
    read: Callable[[], Value]
    label: str = ""


def counter(name: str, text: str, read: Callable[[], Value], label: str = "") -> Metric:
    """Return a metric that only grows."""
    return Metric(name, "counter", text, read, label)


def gauge(name: str, text: str, read: Callable[[], Value], label: str = "") -> Metric:
    """Return a metric that grows and falls."""
    return Metric(name, "gauge", text, read, label)


class CounterBy(dict[str, int]):
    """Counts by the value of a label, with at most MAX_LABEL_VALUES of them."""

    def count(self, value: str) -> None:
        """Count one."""
        if value not in self and len(self) >= MAX_LABEL_VALUES:
            value = "other"
        self[value] = self.get(value, 0) + 1


def check(metrics: Iterable[Metric]) -> None:
    """Raise ValueError for a metric that Prometheus's conventions do not allow, or whose name another one has."""
    names: set[str] = set()
    for name, kind, text, _, label in metrics:
        if name in names or not _NAME.fullmatch(name) or name.endswith(_RESERVED_SUFFIXES):
            raise ValueError(f"{name}: must be lower-case words, once, without a reserved suffix")
        if kind not in ("counter", "gauge") or (kind == "counter") != name.endswith("_total"):
            raise ValueError(f"{name}: must be a gauge, or a counter that ends with _total")
        if not text.endswith(".") or "\n" in text or "\\" in text:
            raise ValueError(f"{name}: its help must be a sentence on one line")
        if label and not _LABEL.fullmatch(label):
            raise ValueError(f"{name}: {label!r} is no label")
        names.add(name)


def encode(metrics: Iterable[Metric]) -> bytes:
    """Return the text of metrics. Without descriptors, metrics that are read from files have no value."""
    return "".join(map(_family, metrics)).encode()


def heading(name: str, kind: str, text: str) -> str:
    """Return the lines before the values of a metric."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def number(value: float) -> str:
    """Return a value with all its digits."""
    return repr(value).replace("inf", "+Inf").replace("-+", "-").replace("nan", "NaN")


def _family(metric: Metric) -> str:
    name, kind, text, read, label = metric
    try:
        value = read()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        value = {}
    if isinstance(value, Mapping):
        lines = [f'{name}{{{label}="{_escaped(key)}"}} {number(value[key])}\n' for key in sorted(value)]
    else:
        lines = [f"{name} {number(value)}\n"]
    return heading(name, kind, text) + "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def process_metrics() -> list[Metric]:
    """Return the metrics that every process has, under the names that all clients of Prometheus use."""
    start_time = _start_time()  # once, since both clocks are adjusted
    return [
        gauge("frota_build_info", "The version of frota.", lambda: {__version__: 1}, "version"),
        counter("process_cpu_seconds_total", "CPU time of the process.", _cpu_seconds),
        gauge("process_resident_memory_bytes", "Resident memory of the process.", lambda: _memory(1)),
        gauge("process_virtual_memory_bytes", "Address space of the process.", lambda: _memory(0)),
        gauge("process_start_time_seconds", "When the process was started.", lambda: start_time),
        gauge("process_open_fds", "Open file descriptors.", _open_descriptors),
        gauge("process_max_fds", "Limit of open file descriptors.", _max_descriptors),
    ]


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory(field: int) -> int:
    """Return a size in bytes (proc_pid_statm(5))."""
    return int(_read("/proc/self/statm").split()[field]) * resource.getpagesize()


def _start_time() -> float:
    """Return when the process was started, in seconds since 1970 (proc_pid_stat(5), clock_gettime(2)).

    The time of the boot, in /proc/stat, is hidden from a unit with ProcSubset=pid.
    """
    ticks = int(_read("/proc/self/stat").rpartition(")")[2].split()[19])
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / _CLOCK_TICKS)


def _open_descriptors() -> int:
    listed = os.listdir("/proc/self/fd")  # noqa: PTH208 -- thousands of Path objects at each collection
    return len(listed) - 1  # without the one that reads the folder


def _max_descriptors() -> float:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft


def _read(path: str) -> str:
    return Path(path).read_text(encoding="ascii", errors="replace")
