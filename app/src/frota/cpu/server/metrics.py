"""The server's own metrics; those of the hosts are in host_metrics.py."""

from frota.cpu.server.agents import Agents
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.hosts import Hosts
from frota.cpu.server.writer import HistoryWriter
from frota.net.exposition import Metric, counter, gauge
from frota.net.tcp_server import TcpServer


def metrics(hosts: Hosts, agents: Agents, tcp: TcpServer, writer: HistoryWriter, event_log: EventLog) -> list[Metric]:
    """Return the metrics of a server's parts."""

    def states() -> dict[str, float]:
        current = [host.state for host in hosts]
        return {state: current.count(state) for state in ("connected", "stale", "away")}

    return [
        gauge("frota_cpu_server_hosts", "Hosts by their state.", states, "state"),
        gauge("frota_cpu_server_agents", "Connected agents.", lambda: agents.connected),
        gauge("frota_cpu_server_connections", "Open connections.", lambda: tcp.connection_count),
        gauge("frota_cpu_server_max_connections", "Limit of connections.", lambda: tcp.limits.max_connections),
        counter(
            "frota_cpu_server_connections_accepted_total", "Accepted connections.", lambda: event_log.connected_total
        ),
        counter(
            "frota_cpu_server_connections_rejected_total",
            "Connections above the limit.",
            lambda: event_log.rejected_total,
        ),
        counter(
            "frota_cpu_server_connections_aborted_total",
            "Connections that the server ended.",
            lambda: event_log.aborted_total,
        ),
        counter("frota_cpu_server_messages_malformed_total", "Malformed messages.", lambda: event_log.malformed_total),
        counter(
            "frota_cpu_server_rate_limited_total",
            "Times that a connection exceeded the rate limit of samples.",
            lambda: event_log.rate_limited_total,
        ),
        counter(
            "frota_cpu_server_name_conflicts_total",
            "Agents rejected because another agent has their name.",
            lambda: event_log.name_conflicts_total,
        ),
        gauge("frota_cpu_server_pending_samples", "Samples that wait for the disk.", lambda: len(hosts.changes.recent)),
        counter("frota_cpu_server_commits_total", "Commits of samples to the disk.", lambda: writer.commits_total),
        counter("frota_cpu_server_commit_seconds_total", "Time of all commits.", lambda: writer.commit_seconds_total),
    ]
