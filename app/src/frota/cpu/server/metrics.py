"""The server's own metrics; those of the hosts are in host_metrics.py."""

from frota.cpu.server.agents import Agents
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.hosts import Hosts
from frota.cpu.server.writer import HistoryWriter
from frota.net.exposition import Metric
from frota.net.tcp_server import TcpServer

_PREFIX = "frota_cpu_server_"


def metrics(hosts: Hosts, agents: Agents, tcp: TcpServer, writer: HistoryWriter, log: EventLog) -> list[Metric]:
    """Return the metrics of a server's parts."""

    def states() -> dict[str, float]:
        current = [host.state for host in hosts]
        return {state: current.count(state) for state in ("connected", "stale", "away")}

    gauges = [
        Metric("hosts", "gauge", "Hosts by their state.", states, "state"),
        Metric("agents", "gauge", "Connected agents.", lambda: agents.connected),
        Metric("connections", "gauge", "Open connections.", lambda: tcp.connection_count),
        Metric("max_connections", "gauge", "Limit of open connections.", lambda: tcp.limits.max_connections),
        Metric("pending_samples", "gauge", "Samples that wait for the disk.", lambda: len(hosts.changes.recent)),
    ]
    counters = [
        Metric("connections_accepted_total", "counter", "Accepted connections.", lambda: log.connected_total),
        Metric("connections_rejected_total", "counter", "Connections above the limit.", lambda: log.rejected_total),
        Metric("connections_aborted_total", "counter", "Connections that the server ended.", lambda: log.aborted_total),
        Metric("messages_malformed_total", "counter", "Malformed messages.", lambda: log.malformed_total),
        Metric(
            "rate_limited_total",
            "counter",
            "Times that a connection exceeded the rate limit of samples.",
            lambda: log.rate_limited_total,
        ),
        Metric(
            "name_conflicts_total",
            "counter",
            "Agents rejected because another agent has their name.",
            lambda: log.name_conflicts_total,
        ),
        Metric("commits_total", "counter", "Commits of samples to the disk.", lambda: writer.commits_total),
        Metric("commit_seconds_total", "counter", "Time of all commits.", lambda: writer.commit_seconds_total),
    ]
    return [metric._replace(name=_PREFIX + metric.name) for metric in gauges + counters]
