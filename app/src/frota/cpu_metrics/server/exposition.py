"""All metrics as Prometheus collects them (its text format, version 0.0.4), made piece by piece."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from frota.cpu_metrics import chunk
from frota.cpu_metrics.messages import Sample
from frota.cpu_metrics.server.host import Host

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_AT_ONCE = 50  # hosts of one piece


class Family(NamedTuple):
    """A metric: its name, kind and meaning, and a function that gives labels and values of one host, or its sample."""

    name: str
    kind: str
    text: str
    values: Callable[[Host], Iterable[tuple[str, float]]] | None = None
    measured: Callable[[Sample], Iterable[tuple[str, float]]] | None = None
    of_cores: bool = False


def _each(names: Iterable[object], values: Iterable[float] | None, label: str) -> Iterable[tuple[str, float]]:
    return [(f',{label}="{name}"', value) for name, value in zip(names, values or (), strict=False)]


_FAMILIES = (
    Family("frota_cpu_up", "gauge", "Whether samples of the host come as they should.",
           lambda host: [("", int(host.state == "connected"))]),
    Family("frota_cpu_last_seen_timestamp_seconds", "gauge", "When the last sample was taken.",
           lambda host: [("", host.kept.last_seen)]),
    Family("frota_cpu_samples_total", "counter", "Samples that came.", lambda host: [("", host.kept.samples)]),
    Family("frota_cpu_missing_samples_total", "counter", "Samples that are missing, by their numbers.",
           lambda host: [("", host.kept.missing)]),
    Family("frota_cpu_duplicate_samples_total", "counter", "Samples that came twice.",
           lambda host: [("", host.kept.duplicates)]),
    Family("frota_cpu_name_conflicts", "gauge", "Other agents that call themselves by the host's name.",
           lambda host: [("", len(host.rivals))] if host.rivals else ()),
    Family("frota_cpu_core_busy_ratio", "gauge", "Share of its time that a core was busy.", None,
           lambda one: _each(range(len(one.cpu)), [_ratio(busy) for busy in one.cpu], "core"), of_cores=True),
    Family("frota_cpu_busy_ratio", "gauge", "Mean of all cores.", None, lambda one: [("", _ratio(one.mean))]),
    Family("frota_cpu_load", "gauge", "Load average.", None,
           lambda one: _each(("1m", "5m", "15m"), one.load, "over")),
    Family("frota_memory_bytes", "gauge", "Memory.", None,
           lambda one: _each(("total", "used", "available"), one.memory, "kind")),
    Family("frota_disk_bytes", "gauge", "Space of the root filesystem.", None,
           lambda one: _each(("total", "used"), one.disk, "kind")),
    Family("frota_disk_bytes_per_second", "gauge", "What all disks read and wrote.", None,
           lambda one: _each(("read", "write"), one.disk and one.disk[2:], "direction")),
    Family("frota_network_bytes_per_second", "gauge", "What came in and went out.", None,
           lambda one: _each(("received", "sent"), one.network, "direction")),
    Family("frota_network_faults_per_second", "gauge", "Packets that were dropped or wrong.", None,
           lambda one: _each(("drops", "errors"), one.network and one.network[2:], "kind")),
    Family("frota_agent_cpu_seconds_total", "counter", "CPU time that the agent has taken.", None,
           lambda one: [("", one.own.cpu)] if one.own else ()),
    Family("frota_agent_resident_memory_bytes", "gauge", "Memory that the agent takes.", None,
           lambda one: [("", one.own.memory)] if one.own else ()),
    Family("frota_cpu_threshold_crossed", "gauge", "Whether a metric is above its threshold.",
           lambda host: [(f',metric="{metric}"', 1) for metric in host.crossings.over if host.state != "away"]),
)  # fmt: skip


def text(hosts: Iterable[Host], server: Iterable[tuple[str, str, str, float]]) -> Iterator[bytes]:
    """Yield the metrics: the server's own, as name, kind, text and value, then those of all hosts."""
    yield "".join(_heading(*one[:3]) + f"{one[0]} {one[3]!r}\n" for one in server).encode()
    every = list(hosts)
    for family in _FAMILIES:
        yield _heading(family.name, family.kind, family.text).encode()
        for start in range(0, len(every), _AT_ONCE):
            yield "".join(_lines(family, every[start : start + _AT_ONCE])).encode()


def _lines(family: Family, hosts: Iterable[Host]) -> Iterator[str]:
    for host in hosts:
        values: Iterable[tuple[str, float]] = ()
        if family.values:
            values = family.values(host)
        # A host that is away has no values of now: Prometheus would take old ones for new.
        elif family.measured and host.latest and host.state == "connected":
            values = family.measured(chunk.unpack(host.latest, with_cores=family.of_cores)[2])
        for labels, value in values:
            yield f'{family.name}{{host="{host.kept.name}"{labels}}} {value!r}\n'  # with all digits there are


def _ratio(percent: float) -> float:
    return round(percent * 10) / 1000  # as exact as it is kept


def _heading(name: str, kind: str, what: str) -> str:
    return f"# HELP {name} {what}\n# TYPE {name} {kind}\n"
