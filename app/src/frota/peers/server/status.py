"""What a server says of itself: the status as JSON, and its metrics."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from frota import __version__
from frota.net.buffer_limit import BufferLimit
from frota.net.exposition import Metric, counter, gauge
from frota.net.tcp_server import TcpServer
from frota.net.tls_connection import TlsListener
from frota.peers.lending.engine import Lending
from frota.peers.lending.membership import BORROWED, BUSY, ON_LOAN, USABLE, State
from frota.peers.protocol.messages import MAX_COUNT, Load
from frota.peers.server.event_log import EventLog
from frota.peers.server.storage.group_commit import GroupCommit
from frota.peers.server.workers import Workers
from frota.peers.tasks import Tasks

_GONE_HOME = frozenset({State.DRAINING, State.RETURNING})


class Parts(NamedTuple):
    """The parts of a server that have something to tell."""

    tcp: TcpServer
    tls: TlsListener | None
    buffers: BufferLimit
    tasks: Tasks
    workers: Workers
    lending: Lending
    commit: GroupCommit
    event_log: EventLog
    peers: Callable[[], list[dict[str, Any]]]


def load(tasks: Tasks, lending: Lending) -> Load:
    """Return the load, as heartbeats carry it."""
    members = lending.members
    usable = members.among(USABLE)
    wait_s = lending.saturation.wait_s
    return Load(
        waiting=tasks.waiting,
        wait_ms=int(wait_s * 1000) if math.isfinite(wait_s) else MAX_COUNT,
        workers=len(usable),
        idle=sum(member.state not in BUSY for member in usable),
        lent=len(members.among(ON_LOAN)),
        borrowed=len(members.among(BORROWED | _GONE_HOME)),
    )


def status(parts: Parts, address: str) -> Mapping[str, Any]:
    """Return the status that `frota peers status` shows."""
    tasks, lending = parts.tasks, parts.lending
    now = load(tasks, lending)
    return {
        "server": lending.server,
        "address": address,
        "version": __version__,
        "durable": parts.commit.store.durable,
        "queue": {
            "waiting": now.waiting,
            "leased": tasks.leased,
            "dead": sum(1 for _ in tasks.dead()),
            "wait_ms": now.wait_ms,
            "service_us": round(lending.saturation.service.seconds * 1e6, 1),
            "saturated": lending.saturation.saturated,
        },
        "tasks": {
            "submitted": parts.event_log.submitted_total,
            "done": parts.event_log.finished_total,
            "failed_attempts": parts.event_log.failed_attempts_total,
        },
        "workers": _workers(lending),
        "peers": parts.peers(),
        "connections": parts.tcp.connection_count,
    }


def _workers(lending: Lending) -> dict[str, int]:
    count = lending.members.count()
    own_here = count[State.OWN_IDLE] + count[State.OWN_BUSY]
    borrowed_here = count[State.BORROWED_IDLE] + count[State.BORROWED_BUSY] + count[State.DRAINING]
    return {
        "own": own_here + count[State.OFFERED] + count[State.LENT] + count[State.ABSENT],
        "own_here": own_here,
        "idle": count[State.OWN_IDLE] + count[State.BORROWED_IDLE],
        "busy": count[State.OWN_BUSY] + count[State.BORROWED_BUSY] + count[State.DRAINING],
        "lent": count[State.OFFERED] + count[State.LENT],
        "absent": count[State.ABSENT],
        "borrowed": borrowed_here + count[State.RETURNING],
        "promised": count[State.PROMISED],
    }


def loans_by_peer(lending: Lending) -> Callable[[str], dict[str, int]]:
    """Return what tells how many workers are lent to a peer, and borrowed from it, now."""
    members = lending.members
    lent = Counter(member.loan.borrower for member in members.among(ON_LOAN) if member.loan)
    borrowed = Counter(member.owner for member in members.among(BORROWED | _GONE_HOME))
    return lambda peer: {"lent": lent[peer], "borrowed": borrowed[peer]}


def metrics(parts: Parts) -> list[Metric]:
    """Return the metrics of a server's parts."""
    tasks, log = parts.tasks, parts.event_log
    return [
        gauge("frota_peers_tasks_waiting", "Tasks in the queue.", lambda: tasks.waiting),
        gauge("frota_peers_tasks_leased", "Tasks that workers have.", lambda: tasks.leased),
        counter("frota_peers_tasks_submitted_total", "Tasks of SUBMITs.", lambda: log.submitted_total),
        counter("frota_peers_tasks_rejected_total", "Tasks that were not accepted.", lambda: log.rejected_tasks_total),
        counter("frota_peers_tasks_done_total", "Results.", lambda: log.finished_total),
        counter("frota_peers_attempts_failed_total", "Failed attempts.", lambda: log.failed_attempts_total),
        counter("frota_peers_tasks_dead_total", "Tasks that have failed too often.", lambda: log.dead_total),
        counter("frota_peers_tasks_taken_over_total", "Tasks of servers that are gone.", lambda: log.taken_over_total),
        counter("frota_peers_results_expired_total", "Results deleted by their age.", lambda: log.expired_total),
        counter(
            "frota_peers_reports_rejected_total",
            "Reports of tasks without a lease.",
            lambda: log.rejected_reports_total,
        ),
        counter("frota_peers_tasks_handed_out_total", "Leases.", lambda: parts.workers.hand_out.handed_out_total),
        counter("frota_peers_batches_total", "Messages with tasks.", lambda: parts.workers.hand_out.batches_total),
        *_servers(parts),
        *_connections(parts),
    ]


def _servers(parts: Parts) -> list[Metric]:
    lending, commit = parts.lending, parts.commit

    def peers() -> dict[str, float]:
        states = [peer["up"] for peer in parts.peers()]
        return {"up": states.count(True), "down": states.count(False)}

    return [
        gauge("frota_peers_workers", "Workers, by what they are to this server.", lambda: _workers(lending), "state"),
        gauge("frota_peers_saturation", "Wait of a new task, by the target.", lambda: lending.saturation.level),
        gauge("frota_peers_service_seconds", "Mean time of a task.", lambda: lending.saturation.service.seconds),
        gauge("frota_peers_peers", "Configured peers, by their state.", peers, "state"),
        counter("frota_peers_commits_total", "Commits.", lambda: commit.commits_total),
        counter("frota_peers_commit_errors_total", "Commits that are repeated.", lambda: commit.errors_total),
        gauge("frota_peers_commit_backlog", "Results that wait for the next commit.", lambda: commit.backlog),
    ]


def _connections(parts: Parts) -> list[Metric]:
    tcp, log, tls = parts.tcp, parts.event_log, parts.tls

    def connections() -> dict[str, float]:
        secure = sum(connection.common_name is not None for connection in tcp.connections)
        return {"tls": secure, "clear": tcp.connection_count - secure}

    return [
        gauge("frota_peers_connections", "Open connections.", connections, "transport"),
        gauge("frota_peers_max_connections", "Limit of connections.", lambda: tcp.limits.max_connections),
        counter("frota_peers_connections_accepted_total", "Accepted connections.", lambda: log.connected_total),
        counter("frota_peers_connections_rejected_total", "Connections above the limit.", lambda: log.rejected_total),
        counter("frota_peers_connections_timed_out_total", "Ended by a timeout.", lambda: tcp.timeouts, "timeout"),
        gauge(
            "frota_peers_buffered_bytes",
            "Incomplete messages of all connections.",
            lambda: parts.buffers.buffered_bytes,
        ),
        counter(
            "frota_peers_connections_evicted_total",
            "Ended because the buffers were full.",
            lambda: parts.buffers.evicted_total,
        ),
        counter(
            "frota_peers_rate_limited_total",
            "Times that a connection exceeded the rate limit.",
            lambda: log.rate_limited_total,
        ),
        counter(
            "frota_peers_handshakes_failed_total",
            "Failed TLS handshakes.",
            lambda: tls.failures if tls else {},
            "reason",
        ),
        counter("frota_peers_messages_malformed_total", "Malformed messages.", lambda: log.malformed_total),
        counter(
            "frota_peers_messages_forbidden_total",
            "Messages that their senders may not send.",
            lambda: log.forbidden_total,
        ),
    ]
