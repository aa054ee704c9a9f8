"""The metrics of all hosts in Prometheus's text format, encoded in chunks."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from frota.cpu import history_chunk
from frota.cpu.messages import Sample
from frota.cpu.server.host import Host
from frota.net.exposition import heading, number

_BATCH = 50  # hosts of one chunk


class Family(NamedTuple):
    """A metric: name, type and help, and a function from a host, or its sample, to labels and values."""

    name: str
    kind: str
    text: str
    values: Callable[[Host], Iterable[tuple[str, float]]] | None = None
    measured: Callable[[Sample], Iterable[tuple[str, float]]] | None = None
    of_cores: bool = False


def _each(names: Iterable[object], values: Iterable[float] | None, label: str) -> Iterable[tuple[str, float]]:
    return [(f',{label}="{name}"', value) for name, value in zip(names, values or (), strict=False)]


_FAMILIES = (
    Family("frota_cpu_up", "gauge", "Whether samples of the host arrive in time.",
           lambda host: [("", int(host.state == "connected"))]),
    Family("frota_cpu_last_seen_timestamp_seconds", "gauge", "When the last sample was taken.",
           lambda host: [("", host.row.last_seen)]),
    Family("frota_cpu_samples_total", "counter", "Samples received.", lambda host: [("", host.row.samples)]),
    Family("frota_cpu_missing_samples_total", "counter", "Samples lost, by gaps of their sequence numbers.",
           lambda host: [("", host.row.missing)]),
    Family("frota_cpu_duplicate_samples_total", "counter", "Duplicate samples.",
           lambda host: [("", host.row.duplicates)]),
    Family("frota_cpu_name_conflicts", "gauge", "Rejected agents with the name of the host.",
           lambda host: [("", len(host.rivals))] if host.rivals else ()),
    Family("frota_cpu_core_busy_ratio", "gauge", "Share of its time that a core was busy.", None,
           lambda sample: _each(range(len(sample.cpu)), [_ratio(busy) for busy in sample.cpu], "core"), of_cores=True),
    Family("frota_cpu_busy_ratio", "gauge", "Mean of all cores.", None, lambda sample: [("", _ratio(sample.mean))]),
    Family("frota_cpu_load", "gauge", "Load average.", None,
           lambda sample: _each(("1m", "5m", "15m"), sample.load, "over")),
    Family("frota_cpu_memory_bytes", "gauge", "Memory.", None,
           lambda sample: _each(("total", "used", "available"), sample.memory, "kind")),
    Family("frota_cpu_disk_bytes", "gauge", "Space of the root filesystem.", None,
           lambda sample: _each(("total", "used"), sample.disk, "kind")),
    Family("frota_cpu_disk_bytes_per_second", "gauge", "Reads and writes of all disks.", None,
           lambda sample: _each(("read", "write"), sample.disk and sample.disk[2:], "direction")),
    Family("frota_cpu_network_bytes_per_second", "gauge", "Bytes received and sent.", None,
           lambda sample: _each(("received", "sent"), sample.network, "direction")),
    Family("frota_cpu_network_faults_per_second", "gauge", "Dropped and faulty packets.", None,
           lambda sample: _each(("drops", "errors"), sample.network and sample.network[2:], "kind")),
    Family("frota_cpu_agent_cpu_seconds_total", "counter", "CPU time of the agent.", None,
           lambda sample: [("", sample.own.cpu)] if sample.own else ()),
    Family("frota_cpu_agent_resident_memory_bytes", "gauge", "Resident memory of the agent.", None,
           lambda sample: [("", sample.own.memory)] if sample.own else ()),
    Family("frota_cpu_threshold_crossed", "gauge", "Whether a metric is above its threshold.",
           lambda host: [(f',metric="{metric}"', 1) for metric in host.crossings.over if host.state != "away"]),
)  # fmt: skip


def text(hosts: Iterable[Host]) -> Iterator[bytes]:
    """Yield the metrics of hosts."""
    all_hosts = list(hosts)
    for family in _FAMILIES:
        yield heading(family.name, family.kind, family.text).encode()
        for start in range(0, len(all_hosts), _BATCH):
            yield "".join(_lines(family, all_hosts[start : start + _BATCH])).encode()


def _lines(family: Family, hosts: Iterable[Host]) -> Iterator[str]:
    for host in hosts:
        values: Iterable[tuple[str, float]] = ()
        if family.values:
            values = family.values(host)
        # A host that is not connected has no current values: Prometheus would take old ones for new.
        elif family.measured and host.latest and host.state == "connected":
            values = family.measured(history_chunk.unpack(host.latest, with_cores=family.of_cores)[2])
        for labels, value in values:
            yield f'{family.name}{{host="{host.row.name}"{labels}}} {number(value)}\n'  # with all digits


def _ratio(percent: float) -> float:
    return round(percent * 10) / 1000  # as exact as it is stored
