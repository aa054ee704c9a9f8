"""The metrics of the dashboard."""

from frota.net.exposition import Metric, counter, gauge
from frota.observer.dashboard.connections import Connections
from frota.observer.dashboard.guard import Guard
from frota.observer.dashboard.journal_reader import JournalReader
from frota.observer.dashboard.sources.parts import Parts
from frota.observer.dashboard.viewers import Viewers


def metrics(
    viewers: Viewers, guard: Guard, journals: JournalReader, parts: Parts, connections: Connections
) -> list[Metric]:
    """Return the metrics."""

    def states() -> dict[str, float]:
        return {name: float(part["state"] == "ok") for name, part in parts.states.items()}

    return [
        gauge("frota_dashboard_viewers", "Open pages.", lambda: len(viewers)),
        gauge("frota_dashboard_max_viewers", "Limit of open pages.", lambda: viewers.limit),
        gauge("frota_dashboard_connections", "Open connections.", lambda: len(connections)),
        counter("frota_dashboard_viewers_rejected_total", "Pages above the limit.", lambda: viewers.rejected_total),
        counter("frota_dashboard_viewers_slow_total", "Pages that did not read.", lambda: viewers.slow_total),
        counter("frota_dashboard_events_total", "Events queued for pages.", lambda: viewers.events_total),
        counter("frota_dashboard_event_bytes_total", "Size of these events.", lambda: viewers.bytes_total),
        counter("frota_dashboard_records_total", "Journal records read.", lambda: journals.records_total),
        gauge("frota_dashboard_sessions", "Logins that have not ended.", lambda: len(guard.sessions)),
        counter("frota_dashboard_logins_failed_total", "Failed logins.", lambda: guard.logins_failed_total),
        counter("frota_dashboard_requests_refused_total", "Refused requests.", lambda: guard.refused_total),
        gauge("frota_dashboard_part_available", "Whether a part of the fleet answers.", states, "part"),
    ]
