"""All metrics as Prometheus collects them (its text format, version 0.0.4), made piece by piece."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from frota.cpu_metrics import records
from frota.cpu_metrics.host import Host
from frota.cpu_metrics.messages import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_AT_ONCE = 50  # hosts of one piece


class Family(NamedTuple):
    """A metric: its name, kind and meaning, and a function that gives labels and values of one host."""

    name: str
    kind: str
    text: str
    values: Callable[[Host, Sample | None], Iterable[tuple[str, float]]]


def _each(names: Iterable[object], values: Iterable[float] | None, label: str) -> Iterable[tuple[str, float]]:
    return [(f',{label}="{name}"', value) for name, value in zip(names, values or (), strict=False)]


_FAMILIES = (
    Family("frota_cpu_up", "gauge", "Whether samples of the host come as they should.",
           lambda host, _: [("", float(host.state == "connected"))]),
    Family("frota_cpu_last_seen_timestamp_seconds", "gauge", "When the last sample was taken.",
           lambda host, _: [("", host.kept.last_seen)]),
    Family("frota_cpu_samples_total", "counter", "Samples that came.", lambda host, _: [("", host.kept.samples)]),
    Family("frota_cpu_missing_samples_total", "counter", "Samples that are missing, by their numbers.",
           lambda host, _: [("", host.kept.missing)]),
    Family("frota_cpu_duplicate_samples_total", "counter", "Samples that came twice.",
           lambda host, _: [("", host.kept.duplicates)]),
    Family("frota_cpu_core_busy_ratio", "gauge", "Share of its time that a core was busy.",
           lambda _, one: _each(range(len(one.cpu)), [busy / 100 for busy in one.cpu], "core") if one else ()),
    Family("frota_cpu_busy_ratio", "gauge", "Mean of all cores.", lambda _, one: [("", one.mean / 100)] if one else ()),
    Family("frota_cpu_load", "gauge", "Load average.",
           lambda _, one: _each(("1m", "5m", "15m"), one and one.load, "over")),
    Family("frota_memory_bytes", "gauge", "Memory.",
           lambda _, one: _each(("total", "used", "available"), one and one.memory, "kind")),
    Family("frota_disk_bytes", "gauge", "Space of the root filesystem.",
           lambda _, one: _each(("total", "used"), one and one.disk, "kind")),
    Family("frota_disk_bytes_per_second", "gauge", "What all disks read and wrote.",
           lambda _, one: _each(("read", "write"), one and one.disk and one.disk[2:], "direction")),
    Family("frota_network_bytes_per_second", "gauge", "What came in and went out.",
           lambda _, one: _each(("received", "sent"), one and one.network, "direction")),
    Family("frota_network_faults_per_second", "gauge", "Packets that were dropped or wrong.",
           lambda _, one: _each(("drops", "errors"), one and one.network and one.network[2:], "kind")),
    Family("frota_agent_cpu_seconds_total", "counter", "CPU time that the agent has taken.",
           lambda _, one: [("", one.own.cpu)] if one and one.own else ()),
    Family("frota_agent_resident_memory_bytes", "gauge", "Memory that the agent takes.",
           lambda _, one: [("", one.own.memory)] if one and one.own else ()),
    Family("frota_cpu_threshold_crossed", "gauge", "Whether a metric is above its threshold.",
           lambda host, _: [(f',metric="{metric}"', 1) for metric in host.crossings.over]),
)  # fmt: skip


def text(hosts: Iterable[Host], server: Iterable[tuple[str, str, str, float]]) -> Iterator[bytes]:
    """Yield the metrics: the server's own, as name, kind, text and value, then those of all hosts."""
    yield "".join(_heading(*one[:3]) + f"{one[0]} {one[3]:.10g}\n" for one in server).encode()
    # A host that is away has no values of now: Prometheus would take old ones for new.
    every = [
        (host, records.unpack(host.latest)[2] if host.state == "connected" and host.latest else None) for host in hosts
    ]
    for family in _FAMILIES:
        yield _heading(family.name, family.kind, family.text).encode()
        for start in range(0, len(every), _AT_ONCE):
            yield "".join(_lines(family, every[start : start + _AT_ONCE])).encode()


def _lines(family: Family, hosts: Iterable[tuple[Host, Sample | None]]) -> Iterator[str]:
    for host, sample in hosts:
        for labels, value in family.values(host, sample):
            yield f'{family.name}{{host="{host.kept.name}"{labels}}} {value:.10g}\n'


def _heading(name: str, kind: str, what: str) -> str:
    return f"# HELP {name} {what}\n# TYPE {name} {kind}\n"
