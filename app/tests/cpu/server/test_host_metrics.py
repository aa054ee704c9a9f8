"""Prometheus's text format: all digits, and no values of disconnected hosts."""

import pytest

from frota.cpu import history_chunk
from frota.cpu.framing import SampleMessage
from frota.cpu.server import host_metrics
from frota.cpu.server.hosts import Hosts
from frota.cpu.settings import parse_thresholds
from support.metrics import SAMPLE


def hosts(count: int = 1) -> Hosts:
    """Return hosts that are connected, each with a sample."""
    some = Hosts()
    for number in range(count):
        host = some.get_or_create(f"h{number}", "original", 5.0)
        some.take(
            host, SampleMessage(0, 0.0, SAMPLE._replace(own=SAMPLE.own and SAMPLE.own._replace(memory=123_456_789_012)))
        )
        host.connection = object()
    return some


def collected(some: Hosts) -> dict[str, str]:
    lines = b"".join(host_metrics.text(some)).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_values_keep_all_digits() -> None:
    """Metrics have all digits of their values."""
    some = hosts()
    host = some.get("h0")
    assert host
    host.row = host.row._replace(last_seen=1769860800.123, samples=2**53 - 1)
    samples = collected(some)
    assert samples['frota_cpu_agent_resident_memory_bytes{host="h0"}'] == "123456789012"
    assert samples['frota_cpu_last_seen_timestamp_seconds{host="h0"}'] == "1769860800.123"
    assert samples['frota_cpu_samples_total{host="h0"}'] == "9007199254740991"
    assert samples['frota_cpu_core_busy_ratio{host="h0",core="0"}'] == "0.373"
    assert samples['frota_cpu_up{host="h0"}'] == "1"


def test_disconnected_host_crosses_no_threshold() -> None:
    """A host that is away has no crossed thresholds in its metrics."""
    some = hosts()
    host = some.get("h0")
    assert host
    assert list(host.crossings.check(SAMPLE._replace(mean=95.0), parse_thresholds("cpu:90:75"), 1))
    assert collected(some)['frota_cpu_threshold_crossed{host="h0",metric="cpu"}'] == "1"
    host.connection = None
    assert not [name for name in collected(some) if "crossed" in name or "busy" in name]


def test_hosts_are_unpacked_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the hosts of one chunk of the text are unpacked at a time."""
    unpacked, unpack, most = [0], history_chunk.unpack, 0

    def count(packed: bytes, **how: bool) -> object:
        unpacked[0] += 1
        return unpack(packed, **how)

    monkeypatch.setattr(history_chunk, "unpack", count)
    for _ in host_metrics.text(hosts(200)):
        most, unpacked[0] = max(most, unpacked[0]), 0
    assert most == host_metrics._BATCH
