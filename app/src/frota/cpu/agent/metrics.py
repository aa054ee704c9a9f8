"""The agent's metrics."""

from collections.abc import Callable

from frota.cpu.agent.spool import Spool
from frota.cpu.agent.uplink import Uplink
from frota.net.exposition import Metric, counter, gauge


def metrics(samples: Callable[[], int], spool: Spool | None, uplink: Uplink) -> list[Metric]:
    """Return the metrics of an agent's parts; without a spool (the legacy protocol), fewer."""
    own = [
        counter("frota_cpu_agent_samples_total", "Samples taken.", samples),
        gauge("frota_cpu_agent_connected", "Whether a server accepts samples.", lambda: int(uplink.connected)),
    ]
    return own if spool is None else own + _spool(spool)


def _spool(spool: Spool) -> list[Metric]:
    return [
        counter("frota_cpu_agent_samples_delivered_total", "Acknowledged samples.", lambda: spool.delivered),
        counter("frota_cpu_agent_samples_dropped_total", "Samples dropped from the full spool.", lambda: spool.dropped),
        counter("frota_cpu_agent_samples_lost_total", "Samples that the server never gets.", lambda: spool.lost),
        gauge("frota_cpu_agent_spool_samples", "Samples that wait for the server.", lambda: len(spool)),
    ]
