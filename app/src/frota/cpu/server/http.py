"""HTTP for collectors of metrics: GET /metrics, one request per connection."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import h11

from frota.cpu.framing import Malformed
from frota.cpu.messages import INVALID_MESSAGE
from frota.cpu.server import exposition
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.host import Host
from frota.cpu.server.hosts import Hosts

Metric = tuple[str, str, str, float]
"""A metric of the server itself: name, type, help and value."""


class MetricsEndpoint:
    """Answers requests; `server_metrics` returns the server's own metrics."""

    def __init__(self, hosts: Iterable[Host], server_metrics: Callable[[], Iterable[Metric]]) -> None:
        self._hosts, self._server_metrics = hosts, server_metrics

    async def respond(self, data: bytes) -> AsyncIterator[bytes]:
        """Yield the response to a whole request, in chunks. Raises Malformed."""
        connection = h11.Connection(h11.SERVER)
        try:
            connection.receive_data(data)
            request = connection.next_event()
        except h11.RemoteProtocolError:
            raise Malformed(INVALID_MESSAGE) from None
        if not isinstance(request, h11.Request):
            raise Malformed(INVALID_MESSAGE)
        found = request.target.partition(b"?")[0] == b"/metrics"
        content_type = exposition.CONTENT_TYPE if found else "text/plain"
        headers = [("Content-Type", content_type), ("Connection", "close")]
        yield connection.send(h11.Response(status_code=200 if found else 404, headers=headers)) or b""
        if request.method != b"HEAD":
            for chunk in self._metrics() if found else iter([b"GET /metrics\n"]):
                yield connection.send(h11.Data(data=chunk)) or b""
                await asyncio.sleep(0)  # other connections first
        yield connection.send(h11.EndOfMessage()) or b""

    def _metrics(self) -> Iterator[bytes]:
        return exposition.text(self._hosts, self._server_metrics())


def server_metrics(hosts: Hosts, connections: int, event_log: EventLog) -> Iterator[Metric]:
    """Yield the server's own metrics."""
    states = [host.state for host in hosts]
    for state in ("connected", "stale", "away"):
        yield f"frota_cpu_server_hosts_{state}", "gauge", f"Hosts that are {state}.", states.count(state)
    yield "frota_cpu_server_connections", "gauge", "Open connections.", connections
    counters = {
        "connections": ("Accepted connections.", event_log.connected_total),
        "bad_messages": ("Malformed messages.", event_log.malformed_total),
        "hasty": ("Times that a connection exceeded the rate limit.", event_log.rate_limited_total),
        "name_conflicts": ("Agents rejected because another agent has their name.", event_log.name_conflicts_total),
        "cut": ("Connections that the server ended.", event_log.aborted_total),
    }
    for name, (text, value) in counters.items():
        yield f"frota_cpu_server_{name}_total", "counter", text, value
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield "process_cpu_seconds_total", "counter", "CPU time of the server.", usage.ru_utime + usage.ru_stime
    yield "process_resident_memory_bytes", "gauge", "Resident memory of the server.", _resident_bytes()


def _resident_bytes() -> int:
    """Return the bytes of this process that are in memory now (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
