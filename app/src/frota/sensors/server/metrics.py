"""The server's metrics."""

from frota.net.exposition import Metric, counter, gauge
from frota.net.tcp_server import TcpServer
from frota.sensors.server.event_log import EventLog
from frota.sensors.server.subscriptions import Subscriptions
from frota.sensors.staleness import SensorMonitor
from frota.storage.wal.group_commit import WriteAheadLog


def metrics(
    tcp: TcpServer, event_log: EventLog, monitor: SensorMonitor, wal: WriteAheadLog, subscriptions: Subscriptions
) -> list[Metric]:
    """Return the metrics of a server's parts."""
    return [*_readings(event_log, monitor), *_connections(tcp, event_log, subscriptions), *_disk(wal, event_log)]


def _readings(event_log: EventLog, monitor: SensorMonitor) -> list[Metric]:
    return [
        counter("frota_sensors_readings_received_total", "Valid readings.", lambda: event_log.received_total),
        counter(
            "frota_sensors_readings_out_of_range_total",
            "Valid readings that are stored with a flag.",
            lambda: event_log.out_of_range_total,
        ),
        counter("frota_sensors_messages_malformed_total", "Rejected messages.", lambda: event_log.malformed_total),
        counter(
            "frota_sensors_readings_dropped_total",
            "Readings that clients report to have dropped from their full spool.",
            lambda: event_log.dropped_total,
        ),
        gauge("frota_sensors_sensors", "Sensors since the start, by their state.", monitor.counts, "state"),
    ]


def _connections(tcp: TcpServer, event_log: EventLog, subscriptions: Subscriptions) -> list[Metric]:
    return [
        gauge("frota_sensors_connections", "Open connections.", lambda: tcp.connection_count),
        gauge("frota_sensors_max_connections", "Limit of connections.", lambda: tcp.limits.max_connections),
        counter("frota_sensors_connections_accepted_total", "Accepted connections.", lambda: event_log.connected_total),
        counter(
            "frota_sensors_connections_rejected_total", "Connections above the limit.", lambda: event_log.rejected_total
        ),
        counter(
            "frota_sensors_connections_timed_out_total",
            "Connections that a timeout has ended.",
            lambda: tcp.timeouts,
            "timeout",
        ),
        gauge("frota_sensors_subscriptions", "Streams of tail and history.", lambda: len(subscriptions)),
    ]


def _disk(wal: WriteAheadLog, event_log: EventLog) -> list[Metric]:
    return [
        counter(
            "frota_sensors_readings_disk_full_total",
            "Readings that are not stored because the disk is full.",
            lambda: event_log.disk_full_total,
        ),
        counter("frota_sensors_commits_total", "Commits of readings to the disk.", lambda: wal.commits_total),
        counter("frota_sensors_commit_seconds_total", "Time of all commits.", lambda: wal.commit_seconds_total),
        gauge("frota_sensors_backlog_bytes", "Readings that wait for the disk.", lambda: wal.backlog),
        gauge("frota_sensors_log_bytes", "Stored readings.", lambda: wal.size),
    ]
