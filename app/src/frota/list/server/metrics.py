"""The server's metrics."""

from collections.abc import Callable

from frota.list.server.admission import Admission
from frota.list.server.engine import Engine
from frota.list.server.event_log import EventLog
from frota.list.server.send_queue import SendQueue
from frota.net.exposition import Metric, counter, gauge


def metrics(
    engine: Engine, admission: Admission, send_queue: SendQueue, event_log: EventLog, requests: Callable[[], int]
) -> list[Metric]:
    """Return the metrics of a server's parts; `requests` returns the number of requests."""
    return [
        *_requests(engine, send_queue, event_log, requests),
        *_connections(admission, event_log),
        *_lists(engine),
        *_disk(engine, event_log),
    ]


def _requests(engine: Engine, send_queue: SendQueue, event_log: EventLog, requests: Callable[[], int]) -> list[Metric]:
    return [
        counter("frota_list_requests_total", "Requests.", requests),
        counter("frota_list_changes_total", "Changes that took effect.", lambda: engine.changes_total),
        counter(
            "frota_list_requests_rejected_total", "Rejected requests by their code.", lambda: engine.rejections, "code"
        ),
        counter(
            "frota_list_cached_responses_total",
            "Repeated requests, answered from the response cache.",
            lambda: engine.cached_responses_total,
        ),
        gauge("frota_list_cached_clients", "Clients in the response cache.", lambda: len(engine.cache.by_client)),
        gauge(
            "frota_list_send_queue_bytes",
            "Responses that wait for clients to read.",
            lambda: send_queue.queued_bytes,
        ),
        counter(
            "frota_list_responses_dropped_total",
            "Responses discarded because their client does not read, or is gone.",
            lambda: event_log.responses_dropped_total,
        ),
        counter("frota_list_internal_errors_total", "Defects of the server.", lambda: event_log.internal_errors_total),
    ]


def _connections(admission: Admission, event_log: EventLog) -> list[Metric]:
    return [
        gauge("frota_list_connections", "Open connections, and a few open files.", lambda: admission.connections),
        gauge("frota_list_max_connections", "Limit of connections.", lambda: admission.max_connections),
        gauge("frota_list_connections_paused", "Whether further clients wait.", lambda: int(admission.paused)),
        counter(
            "frota_list_clients_rejected_total",
            "Handshakes with a key that is not on the allow-list.",
            lambda: event_log.clients_rejected_total,
        ),
    ]


def _lists(engine: Engine) -> list[Metric]:
    lists = engine.lists
    return [
        gauge("frota_list_lists", "Lists.", lambda: len(lists.by_name)),
        gauge("frota_list_max_lists", "Limit of lists.", lambda: lists.limits.lists),
        gauge("frota_list_elements", "Elements of all lists.", lambda: lists.elements),
        gauge("frota_list_max_elements", "Limit of elements.", lambda: lists.limits.elements),
        gauge("frota_list_elements_bytes", "Size of all elements.", lambda: lists.size),
        gauge("frota_list_max_elements_bytes", "Limit of the size of all elements.", lambda: lists.limits.bytes),
    ]


def _disk(engine: Engine, event_log: EventLog) -> list[Metric]:
    change_log = engine.change_log
    return [
        counter("frota_list_commits_total", "Commits of changes to the disk.", lambda: engine.commits_total),
        counter("frota_list_commit_seconds_total", "Time of all commits.", lambda: engine.commit_seconds_total),
        counter(
            "frota_list_disk_full_total",
            "Rounds of changes rejected because the disk is full.",
            lambda: event_log.disk_full_total,
        ),
        gauge("frota_list_log_bytes", "Size of the write-ahead log.", lambda: change_log.size),
        gauge(
            "frota_list_snapshot_timestamp_seconds",
            "When the newest snapshot was written, 0 without one.",
            lambda: change_log.snapshot_time,
        ),
        counter("frota_list_snapshots_failed_total", "Failed snapshots.", lambda: change_log.snapshots_failed_total),
    ]
